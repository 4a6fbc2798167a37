// Walking a row of weights in strips of 256 values together with rows of q8_g16 activations, for any vector width.
// Formats with blocks of 32 may end in part of a strip: that part is copied into a strip of zeros, on both sides, so that
// kernels know whole strips only. A zero activation scale makes the padding add 0.
#pragma once
#include <cstring>

#include "backends/cpu/matmul.h"
#include "quant/formats.h"
#include "quant/q8_g16.h"

namespace kerf::cpu {
inline namespace KERF_ISA {

using ActivationRow = quant::Q8_G16::Row;

template <class F>
inline constexpr int64_t kStripBlocks = kStrip / info(F::dtype).block_values;
template <class F>
inline constexpr int64_t kStripBytes = kStripBlocks<F>* info(F::dtype).block_bytes;

/// One strip of activations.
inline ActivationRow strip_of(const ActivationRow& x, int64_t strip) {
  return {x.q + strip * kStrip, x.d + strip * kStrip / 16, x.sum + strip * kStrip / 16};
}

/// Copies of the values after the last whole strip, filled up with zeros.
struct ActivationTail {
  alignas(64) int8_t q[kStrip];
  alignas(64) float d[kStrip / 16], sum[kStrip / 16];

  ActivationRow fill(const ActivationRow& x, int64_t K) {
    const int64_t start = K / kStrip * kStrip, n = K - start;
    *this = {};
    std::memcpy(q, x.q + start, static_cast<size_t>(n));
    std::memcpy(d, x.d + start / 16, static_cast<size_t>(n / 16) * sizeof(float));
    std::memcpy(sum, x.sum + start / 16, static_cast<size_t>(n / 16) * sizeof(float));
    return {q, d, sum};
  }
};

template <class F>
struct WeightTail {
  typename F::Block block[kStripBlocks<F>];

  const typename F::Block* fill(const typename F::Block* row, int64_t K) {
    const int64_t start = K / kStrip * kStripBlocks<F>;
    *this = {};
    std::memcpy(block, row + start, static_cast<size_t>(row_bytes(F::dtype, K % kStrip)));
    return block;
  }
};

/// Strips ahead of the one being multiplied that are asked for: 6 KB, the middle of what measured equal (4 to 9 KB).
inline constexpr int64_t kAhead = 6 * 1024;

template <int64_t bytes>
inline void prefetch_ahead(const void* p) {
  for (int64_t i = 0; i < bytes; i += 64) __builtin_prefetch(static_cast<const char*>(p) + kAhead + i, 0, 3);
}

/// y[t] of one row of weights for the T tokens x. `Lanes` is the arithmetic: `Strip unpack<F>(blocks)`, and per token an
/// Sum with zero(), `add<F>(sum, strip, activations)` and total().
template <class F, class Lanes, int T>
void dot_row(const typename F::Block* w, const ActivationRow (&x)[T], int64_t K, float (&y)[T]) {
  const int64_t whole = K / kStrip, strips = (K + kStrip - 1) / kStrip;
  for (int t = 0; t < T; ++t) y[t] = 0;
  for (int64_t begin = 0; begin < strips; begin += kSegment / kStrip) {
    const int64_t end = begin + kSegment / kStrip < strips ? begin + kSegment / kStrip : strips;
    typename Lanes::Sum sum[T];
    for (int t = 0; t < T; ++t) sum[t] = Lanes::zero();
    for (int64_t s = begin; s < (end < whole ? end : whole); ++s) {
      const auto* block = w + s * kStripBlocks<F>;
      prefetch_ahead<kStripBytes<F>>(block);
      const auto strip = Lanes::template unpack<F>(block);
      for (int t = 0; t < T; ++t) Lanes::template add<F>(sum[t], strip, strip_of(x[t], s));
    }
    if (end > whole) {
      WeightTail<F> weights;
      const auto strip = Lanes::template unpack<F>(weights.fill(w, K));
      for (int t = 0; t < T; ++t) {
        ActivationTail activations;
        Lanes::template add<F>(sum[t], strip, activations.fill(x[t], K));
      }
    }
    for (int t = 0; t < T; ++t) y[t] += Lanes::total(sum[t]);
  }
}

template <class F, class Lanes, int T>
void dot_tokens(const MatMulArgs& a, int64_t n, int64_t t0) {
  ActivationRow x[T];
  for (int t = 0; t < T; ++t) x[t] = quant::Q8_G16::row(a.x + (t0 + t) * a.x_bytes, a.K);
  float y[T];
  dot_row<F, Lanes, T>(reinterpret_cast<const typename F::Block*>(a.w + n * a.w_bytes), x, a.K, y);
  for (int t = 0; t < T; ++t) a.y[(t0 + t) * a.N + n] = y[t];
}

/// A weight is unpacked once for four tokens.
template <class F, class Lanes>
void dot_rows(const MatMulArgs& a, int64_t first, int64_t last) {
  for (int64_t n = first; n < last; ++n) {
    int64_t t = 0;
    for (; t + 4 <= a.T; t += 4) dot_tokens<F, Lanes, 4>(a, n, t);
    for (; t + 2 <= a.T; t += 2) dot_tokens<F, Lanes, 2>(a, n, t);
    if (t < a.T) dot_tokens<F, Lanes, 1>(a, n, t);
  }
}

}  // namespace KERF_ISA
}  // namespace kerf::cpu
