// Rows r[i] of 16 lanes of 32 bits become columns: 64 shuffles in three rounds of exchanges.
#pragma once
#include <immintrin.h>

#include "core/half.h"

namespace kerf::cpu {
inline namespace KERF_ISA {

/// 32-bit pairs, 64-bit pairs, then 128-bit blocks.
inline void transpose16(__m512i (&r)[16]) {
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

}  // namespace KERF_ISA
}  // namespace kerf::cpu
