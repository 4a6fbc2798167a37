// 16 rows of 16 words of 32 bits become columns, from memory or in registers.
#pragma once
#include <immintrin.h>

#include <cstddef>
#include <cstdint>

#include "core/half.h"

namespace kerf::cpu {
inline namespace KERF_ISA {

/// Block j of the result is the 16 bytes that piece(j) gives.
template <class Piece>
__m512i four_pieces(Piece piece) {
  __m512i v = _mm512_castsi128_si512(piece(0));
  v = _mm512_inserti32x4(v, piece(1), 1);
  v = _mm512_inserti32x4(v, piece(2), 2);
  return _mm512_inserti32x4(v, piece(3), 3);
}

/// Calls store(c, column c), c < 4, for sixteen pieces of 16 bytes, those of one row each. The exchange of 128-bit blocks
/// happens in the loads (a load with an insertion needs no shuffle port), so 8 shuffles remain of the 16 that a quarter of a
/// transposition of registers takes.
template <class Row, class Store>
void transpose_pieces(Row row, Store store) {
  __m512i a[4], b[4];
  for (int i = 0; i < 4; ++i) a[i] = four_pieces([&](int j) { return _mm_loadu_si128(reinterpret_cast<const __m128i*>(row(i + 4 * j))); });
  b[0] = _mm512_unpacklo_epi32(a[0], a[1]), b[1] = _mm512_unpackhi_epi32(a[0], a[1]);
  b[2] = _mm512_unpacklo_epi32(a[2], a[3]), b[3] = _mm512_unpackhi_epi32(a[2], a[3]);
  store(0, _mm512_unpacklo_epi64(b[0], b[2])), store(1, _mm512_unpackhi_epi64(b[0], b[2]));
  store(2, _mm512_unpacklo_epi64(b[1], b[3])), store(3, _mm512_unpackhi_epi64(b[1], b[3]));
}

struct PiecesApart {
  const std::byte* first;
  int64_t stride;
  const std::byte* operator()(int i) const { return first + i * stride; }
};

/// Calls store(c, column 4 q + c), c < 4, for sixteen rows of 64 bytes, `stride` bytes apart.
template <class Store>
void transpose_quarter(const std::byte* rows, int64_t stride, int q, Store store) {
  transpose_pieces(PiecesApart{rows + 16 * q, stride}, store);
}

/// Calls store(c, column c), c < 16.
template <class Store>
void transpose_rows(const std::byte* rows, int64_t stride, Store store) {
  for (int q = 0; q < 4; ++q) transpose_quarter(rows, stride, q, [&](int c, __m512i v) { store(4 * q + c, v); });
}

/// Registers r[0..15], in place: 64 shuffles in three rounds, of 32-bit pairs, 64-bit pairs, then 128-bit blocks.
inline void transpose16(__m512i* r) {
  __m512i a[16], b[16];
  for (int i = 0; i < 16; i += 2) a[i] = _mm512_unpacklo_epi32(r[i], r[i + 1]), a[i + 1] = _mm512_unpackhi_epi32(r[i], r[i + 1]);
  for (int i = 0; i < 16; i += 4) {
    b[i] = _mm512_unpacklo_epi64(a[i], a[i + 2]), b[i + 1] = _mm512_unpackhi_epi64(a[i], a[i + 2]);
    b[i + 2] = _mm512_unpacklo_epi64(a[i + 1], a[i + 3]), b[i + 3] = _mm512_unpackhi_epi64(a[i + 1], a[i + 3]);
  }  // b[4m + c], block j: rows 4m..4m+3 of column 4j + c
  for (int c = 0; c < 4; ++c) {
    const __m512i even01 = _mm512_shuffle_i32x4(b[c], b[4 + c], 0x88), odd01 = _mm512_shuffle_i32x4(b[c], b[4 + c], 0xDD);
    const __m512i even23 = _mm512_shuffle_i32x4(b[8 + c], b[12 + c], 0x88), odd23 = _mm512_shuffle_i32x4(b[8 + c], b[12 + c], 0xDD);
    r[c] = _mm512_shuffle_i32x4(even01, even23, 0x88), r[8 + c] = _mm512_shuffle_i32x4(even01, even23, 0xDD);
    r[4 + c] = _mm512_shuffle_i32x4(odd01, odd23, 0x88), r[12 + c] = _mm512_shuffle_i32x4(odd01, odd23, 0xDD);
  }
}

inline void transpose16(__m512* r) {
  __m512i bits[16];
  for (int i = 0; i < 16; ++i) bits[i] = _mm512_castps_si512(r[i]);
  transpose16(bits);
  for (int i = 0; i < 16; ++i) r[i] = _mm512_castsi512_ps(bits[i]);
}

}  // namespace KERF_ISA
}  // namespace kerf::cpu
