// The vectors of the float ops' rungs with 8 lanes.
#pragma once
#include <immintrin.h>

#include "backends/cpu/simd_batch.h"

namespace kerf::cpu {
inline namespace KERF_ISA {

using BatchAvx2 = xsimd::batch<float, xsimd::fma3<xsimd::avx2>>;

template <>
struct Instructions<BatchAvx2> {
  static BatchAvx2 swap_neighbours(const BatchAvx2& x) { return _mm256_permute_ps(x, 0xB1); }
  static void store_halves(const BatchAvx2& x, uint16_t* out) {
    _mm_storeu_si128(reinterpret_cast<__m128i*>(out), _mm256_cvtps_ph(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
  }
  static void every_fourth(const float* p, BatchAvx2* out) {  // 4 x 4 transposed within each 128 bits
    const auto pair = [&](int i) { return _mm256_insertf128_ps(_mm256_castps128_ps256(_mm_loadu_ps(p + 4 * i)), _mm_loadu_ps(p + 16 + 4 * i), 1); };
    const __m256 r0 = pair(0), r1 = pair(1), r2 = pair(2), r3 = pair(3);
    const __m256 a = _mm256_unpacklo_ps(r0, r1), b = _mm256_unpackhi_ps(r0, r1), c = _mm256_unpacklo_ps(r2, r3), d = _mm256_unpackhi_ps(r2, r3);
    out[0] = _mm256_shuffle_ps(a, c, 0x44), out[1] = _mm256_shuffle_ps(a, c, 0xEE);
    out[2] = _mm256_shuffle_ps(b, d, 0x44), out[3] = _mm256_shuffle_ps(b, d, 0xEE);
  }
};

}  // namespace KERF_ISA
}  // namespace kerf::cpu
