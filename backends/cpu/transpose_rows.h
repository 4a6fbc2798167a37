// 16 rows of 16 words of 32 bits in memory: rows become columns.
#pragma once
#include <immintrin.h>

#include <cstddef>
#include <cstdint>

#include "core/half.h"

namespace kerf::cpu {
inline namespace KERF_ISA {

/// Block j of the result is the 16 bytes at p + 4 j stride.
inline __m512i four_pieces(const std::byte* p, int64_t stride) {
  const auto piece = [&](int j) { return _mm_loadu_si128(reinterpret_cast<const __m128i*>(p + 4 * j * stride)); };
  __m512i v = _mm512_castsi128_si512(piece(0));
  v = _mm512_inserti32x4(v, piece(1), 1);
  v = _mm512_inserti32x4(v, piece(2), 2);
  return _mm512_inserti32x4(v, piece(3), 3);
}

/// Calls store(c, column 4 q + c), c < 4, for sixteen rows of 64 bytes, `stride` bytes apart. The exchange of 128-bit blocks
/// happens in the loads (a load with an insertion needs no shuffle port), so 8 shuffles remain of the 16 that a quarter of a
/// transposition of registers takes.
template <class Store>
void transpose_quarter(const std::byte* rows, int64_t stride, int q, Store store) {
  __m512i a[4], b[4];
  for (int j = 0; j < 4; ++j) a[j] = four_pieces(rows + j * stride + 16 * q, stride);
  b[0] = _mm512_unpacklo_epi32(a[0], a[1]), b[1] = _mm512_unpackhi_epi32(a[0], a[1]);
  b[2] = _mm512_unpacklo_epi32(a[2], a[3]), b[3] = _mm512_unpackhi_epi32(a[2], a[3]);
  store(0, _mm512_unpacklo_epi64(b[0], b[2])), store(1, _mm512_unpackhi_epi64(b[0], b[2]));
  store(2, _mm512_unpacklo_epi64(b[1], b[3])), store(3, _mm512_unpackhi_epi64(b[1], b[3]));
}

/// Calls store(c, column c), c < 16.
template <class Store>
void transpose_rows(const std::byte* rows, int64_t stride, Store store) {
  for (int q = 0; q < 4; ++q) transpose_quarter(rows, stride, q, [&](int c, __m512i v) { store(4 * q + c, v); });
}

}  // namespace KERF_ISA
}  // namespace kerf::cpu
