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
  static BatchAvx2 fma(const BatchAvx2& a, const BatchAvx2& b, const BatchAvx2& c) { return _mm256_fmadd_ps(a, b, c); }
  static BatchAvx2 sum(BatchAvx2 x) {
    x = _mm256_add_ps(x, _mm256_permute2f128_ps(x, x, 1));
    x = _mm256_add_ps(x, _mm256_permute_ps(x, 0x4E));
    return _mm256_add_ps(x, _mm256_permute_ps(x, 0xB1));
  }
  static BatchAvx2 sums(const BatchAvx2* x) {
    const auto halves = [&](int i) {
      return _mm256_add_ps(_mm256_permute2f128_ps(x[i], x[i + 4], 0x20), _mm256_permute2f128_ps(x[i], x[i + 4], 0x31));
    };
    const auto fold = [](__m256 a, __m256 b) { return _mm256_add_ps(_mm256_shuffle_ps(a, b, 0x44), _mm256_shuffle_ps(a, b, 0xEE)); };
    const __m256 a = fold(halves(0), halves(1)), b = fold(halves(2), halves(3));
    return _mm256_add_ps(_mm256_shuffle_ps(a, b, 0x88), _mm256_shuffle_ps(a, b, 0xDD));
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
