// The vectors of the float ops' rungs with 16 lanes.
#pragma once
#include <immintrin.h>

#include <type_traits>

#include "backends/cpu/simd_batch.h"
#include "backends/cpu/transpose.h"

namespace kerf::cpu {
inline namespace KERF_ISA {

using BatchAvx512 = xsimd::batch<float, xsimd::avx512f>;

template <>
struct Instructions<BatchAvx512> {
  static BatchAvx512 swap_neighbours(const BatchAvx512& x) { return _mm512_permute_ps(x, 0xB1); }
  static void store_halves(const BatchAvx512& x, uint16_t* out) {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(out), _mm512_cvtps_ph(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
  }
  static BatchAvx512 fma(const BatchAvx512& a, const BatchAvx512& b, const BatchAvx512& c) { return _mm512_fmadd_ps(a, b, c); }
  static BatchAvx512 sum(BatchAvx512 x) {
    x = _mm512_add_ps(x, _mm512_shuffle_f32x4(x, x, 0x4E));
    x = _mm512_add_ps(x, _mm512_shuffle_f32x4(x, x, 0xB1));
    x = _mm512_add_ps(x, _mm512_permute_ps(x, 0x4E));
    return _mm512_add_ps(x, _mm512_permute_ps(x, 0xB1));
  }
  static BatchAvx512 sums(const BatchAvx512* x) {
    const auto blocks = [](__m512 a, __m512 b, auto even, auto odd) {
      return _mm512_add_ps(_mm512_shuffle_f32x4(a, b, decltype(even)::value), _mm512_shuffle_f32x4(a, b, decltype(odd)::value));
    };
    const auto halves = [&](int i) { return blocks(x[i], x[i + 4], std::integral_constant<int, 0x44>{}, std::integral_constant<int, 0xEE>{}); };
    const auto quarters = [&](int i) {
      return blocks(halves(i), halves(i + 8), std::integral_constant<int, 0x88>{}, std::integral_constant<int, 0xDD>{});
    };
    const auto fold = [](__m512 a, __m512 b) { return _mm512_add_ps(_mm512_shuffle_ps(a, b, 0x44), _mm512_shuffle_ps(a, b, 0xEE)); };
    const __m512 a = fold(quarters(0), quarters(1)), b = fold(quarters(2), quarters(3));
    return _mm512_add_ps(_mm512_shuffle_ps(a, b, 0x88), _mm512_shuffle_ps(a, b, 0xDD));
  }
  static void every_fourth(const float* p, BatchAvx512* out) {
    transpose_quarter(reinterpret_cast<const std::byte*>(p), 16, 0, [&](int j, __m512i column) { out[j] = _mm512_castsi512_ps(column); });
  }
};

}  // namespace KERF_ISA
}  // namespace kerf::cpu
