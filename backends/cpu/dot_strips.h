// Walking a row of weights in strips of 256 values together with rows of q8_g16 activations, for any vector width.
// Formats with blocks of 32 may end in part of a strip, G < 16 groups of 16 values. Nothing past the row is read for it (the
// next row's scale may be infinite, and 0 * infinity is NaN): the missing lanes of scales and activations are zeros.
// G is a template parameter: with K = 576, two strips and G = 4, copying such tails into strips of zeros took half the time.
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

/// Whether a row may end in part of a strip.
template <class F>
inline constexpr bool kHasTails = info(F::dtype).block_values < kStrip;

/// One strip of activations.
inline ActivationRow strip_of(const ActivationRow& x, int64_t strip) {
  return {x.q + strip * kStrip, x.d + strip * kStrip / 16, x.sum + strip * kStrip / 16};
}

inline constexpr int kGroups = kStrip / 16;
/// Blocks that hold G groups.
template <class F, int G>
inline constexpr int kBlocksOf = G * 16 / info(F::dtype).block_values;

/// f<G>() for the G = `groups` of a strip, 1..16 of them and whole blocks of 32 values.
template <class Fn>
decltype(auto) with_groups(int groups, Fn&& f) {
  switch (groups) {
    case 2:
      return f.template operator()<2>();
    case 4:
      return f.template operator()<4>();
    case 6:
      return f.template operator()<6>();
    case 8:
      return f.template operator()<8>();
    case 10:
      return f.template operator()<10>();
    case 12:
      return f.template operator()<12>();
    case 14:
      return f.template operator()<14>();
    default:
      return f.template operator()<kGroups>();
  }
}

/// Where rows of weights are asked for: `far` bytes on into L2, and, if `near`, shortly before their use into L1 too.
struct RowsAhead {
  int64_t far;
  bool near;
};
/// The smallest number of sets of rows that is 12 KB: the rows that are multiplied together reach it together.
inline RowsAhead rows_ahead(int64_t set_bytes, bool near) { return {(12 * 1024 + set_bytes - 1) / set_bytes * set_bytes, near}; }
/// Asks for the strip at p (lanes16_dot.h measures why twice); 12 to 24 KB measured alike for L2, and for L1 it is four strips on in
/// the same row. Always inline: GCC takes a function of prefetches alone for one without effects.
template <int64_t bytes>
[[gnu::always_inline]] inline void prefetch(const void* p, RowsAhead ahead) {
  for (int64_t i = 0; i < bytes; i += 64) {
    __builtin_prefetch(static_cast<const char*>(p) + ahead.far + i, 0, 2);
    if (ahead.near) __builtin_prefetch(static_cast<const char*>(p) + 4 * bytes + i, 0, 3);
  }
}

/// y[r * T + t] of R rows of weights, `stride` bytes apart, for the T tokens x. `Lanes` is the arithmetic: `Strip
/// unpack<F, G>(blocks)`, and per output a Sum with zero(), `add<F, G>(sum, strip, activations)` and add_totals(sums, y).
template <class F, class Lanes, int R, int T>
void dot_block(const std::byte* w, int64_t stride, const ActivationRow (&x)[T], int64_t K, float (&y)[R * T]) {
  const int64_t whole = K / kStrip, strips = (K + kStrip - 1) / kStrip;
  const RowsAhead ahead = rows_ahead(R * stride, true);
  const typename F::Block* row[R];
  for (int r = 0; r < R; ++r) row[r] = reinterpret_cast<const typename F::Block*>(w + r * stride);
  for (auto& v : y) v = 0;
  for (int64_t begin = 0; begin < strips; begin += kSegment / kStrip) {
    const int64_t end = begin + kSegment / kStrip < strips ? begin + kSegment / kStrip : strips;
    typename Lanes::Sum sum[R * T];
    for (auto& v : sum) v = Lanes::zero();
    for (int64_t s = begin; s < (end < whole ? end : whole); ++s)
      for (int r = 0; r < R; ++r) {
        const auto* block = row[r] + s * kStripBlocks<F>;
        prefetch<kStripBytes<F>>(block, ahead);
        const auto strip = Lanes::template unpack<F, kGroups>(block);
        for (int t = 0; t < T; ++t) Lanes::template add<F, kGroups>(sum[r * T + t], strip, strip_of(x[t], s));
      }
    if constexpr (kHasTails<F>)
      if (end > whole)
        with_groups(static_cast<int>(K % kStrip / 16), [&]<int G>() {
          for (int r = 0; r < R; ++r) {
            const auto strip = Lanes::template unpack<F, G>(row[r] + whole * kStripBlocks<F>);
            for (int t = 0; t < T; ++t) Lanes::template add<F, G>(sum[r * T + t], strip, strip_of(x[t], whole));
          }
        });
    Lanes::add_totals(sum, y);
  }
}

/// Rows n..n+R-1, tokens t0..t0+T-1.
template <class F, class Lanes, int R, int T>
void dot_tokens(const MatMulArgs& a, int64_t n, int64_t t0) {
  ActivationRow x[T];
  for (int t = 0; t < T; ++t) x[t] = quant::Q8_G16::row(activations(a, t0 + t), a.K);
  float y[R * T];
  dot_block<F, Lanes, R, T>(a.w + n * a.w_bytes, a.w_bytes, x, a.K, y);
  for (int r = 0; r < R; ++r)
    for (int t = 0; t < T; ++t) a.y[(t0 + t) * a.N + n + r] = y[r * T + t];
}

/// A weight is unpacked once for four tokens. With one token Lanes::kRows rows share the activations and the last sums.
template <class F, class Lanes>
void dot_rows(const MatMulArgs& a, int64_t first, int64_t last) {
  int64_t n = first;
  if (a.T == 1)
    for (; n + Lanes::kRows <= last; n += Lanes::kRows) dot_tokens<F, Lanes, Lanes::kRows, 1>(a, n, 0);
  for (; n < last; ++n) {
    int64_t t = 0;
    for (; t + 4 <= a.T; t += 4) dot_tokens<F, Lanes, 1, 4>(a, n, t);
    for (; t + 2 <= a.T; t += 2) dot_tokens<F, Lanes, 1, 2>(a, n, t);
    if (t < a.T) dot_tokens<F, Lanes, 1, 1>(a, n, t);
  }
}

}  // namespace KERF_ISA
}  // namespace kerf::cpu
