// Sixteen rows of weights, stored one by one as a file has them, unpacked and transposed so that a lane is a row: what panels of
// plain weights are filled with.
#pragma once
#include "backends/cpu/dot_unpack_avx512.h"
#include "backends/cpu/transpose.h"

namespace kerf::cpu {
inline namespace KERF_ISA {

inline constexpr int kPanelLanes = 16;

/// A strip of which the row has `values` left, so many or fewer than a strip.
template <class F>
Strip512 unpack_strip(const typename F::Block* block, int64_t values) {
  if constexpr (kHasTails<F>)
    if (values < kStrip)
      return with_groups(static_cast<int>(values / 16), [&]<int G>() { return Unpack512<F>::template strip<kBlocksOf<F, G>>(block); });
  return Unpack512<F>::template strip<kBlocksOf<F, kGroups>>(block);
}

/// Strip `s` of sixteen rows of K values, and a request for what lies `ahead` bytes on. Hands over, for each group of 16 values,
/// code(group, quad, 16 rows x 4 values), scale(group, 16 rows) and where the format has one min(group, 16 rows).
template <class F, class Code, class Scale, class Min>
void unpack_panel_strip(const typename F::Block* const (&row)[kPanelLanes], int64_t s, int64_t K, int64_t ahead, Code&& code, Scale&& scale,
                        Min&& min) {
  alignas(64) uint8_t codes[kPanelLanes][kStrip];
  __m512i scales[kPanelLanes], mins[kPanelLanes];
  for (int i = 0; i < kPanelLanes; ++i) {
    const auto* block = row[i] + s * kStripBlocks<F>;
    for (int64_t byte = 0; byte < kStripBytes<F>; byte += 64) __builtin_prefetch(reinterpret_cast<const char*>(block) + ahead + byte, 0, 2);
    const Strip512 u = unpack_strip<F>(block, K - s * kStrip);
    for (int c = 0; c < 4; ++c) _mm512_store_si512(codes[i] + 64 * c, u.code[c]);
    scales[i] = _mm512_castps_si512(u.scale);
    if constexpr (F::kHasMin) mins[i] = _mm512_castps_si512(u.min);
  }
  for (int c = 0; c < 4; ++c) {
    __m512i r[16];
    for (int i = 0; i < kPanelLanes; ++i) r[i] = _mm512_load_si512(codes[i] + 64 * c);
    transpose16(r);
    for (int i = 0; i < 16; ++i) code(4 * c + i / 4, i % 4, r[i]);
  }
  transpose16(scales);
  for (int g = 0; g < 16; ++g) scale(g, _mm512_castsi512_ps(scales[g]));
  if constexpr (F::kHasMin) {
    transpose16(mins);
    for (int g = 0; g < 16; ++g) min(g, _mm512_castsi512_ps(mins[g]));
  }
}

/// The sixteen rows from n; those that the matrix lacks repeat its last.
template <class F>
void panel_rows_of(const MatMulArgs& a, int64_t n, const typename F::Block* (&row)[kPanelLanes]) {
  for (int i = 0; i < kPanelLanes; ++i) row[i] = reinterpret_cast<const typename F::Block*>(a.w + (n + i < a.N ? n + i : a.N - 1) * a.w_bytes);
}

}  // namespace KERF_ISA
}  // namespace kerf::cpu
