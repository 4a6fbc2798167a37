// Walking a row of weights in strips of 256 values together with rows of q8_g16 activations, for any vector width.
// Formats with blocks of 32 may end in part of a strip, its tail. Nothing past the row is read for it (the next row's
// scale may be infinite, and 0 * infinity is NaN): the missing lanes of codes, scales, minima and activations are zeros.
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

/// Strips ahead of the one being multiplied that are asked for: 6 KB, the middle of what measured equal (4 to 9 KB).
inline constexpr int64_t kAhead = 6 * 1024;

template <int64_t bytes>
inline void prefetch_ahead(const void* p) {
  for (int64_t i = 0; i < bytes; i += 64) __builtin_prefetch(static_cast<const char*>(p) + kAhead + i, 0, 3);
}

/// y[t] of one row of weights for the T tokens x. `Lanes` is the arithmetic: `Strip unpack<F>(blocks)`, and per token a
/// Sum with zero(), `add<F>(sum, strip, activations)` and total(). For a tail of n blocks `unpack_tail<F>(blocks, n)` and
/// `add_tail<F>(sum, strip, activations, n)` do the same.
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
    if constexpr (kStripBlocks<F> > 1)
      if (end > whole) {
        const int blocks = static_cast<int>(K % kStrip / info(F::dtype).block_values);
        const auto strip = Lanes::template unpack_tail<F>(w + whole * kStripBlocks<F>, blocks);
        for (int t = 0; t < T; ++t) Lanes::template add_tail<F>(sum[t], strip, strip_of(x[t], whole), blocks);
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
