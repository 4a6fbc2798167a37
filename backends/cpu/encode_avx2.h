// The encoder of simd_write.h for AVX2: a group of 16 is two registers. Bit for bit what quant/q8_g16.h and core/half.h
// define.
#pragma once
#include <immintrin.h>

#include <cstring>

#include "quant/q8_g16.h"

namespace kerf::cpu {
inline namespace KERF_ISA {

struct EncodeAvx2 {
  static __m256 magnitude(__m256 v) { return _mm256_andnot_ps(_mm256_set1_ps(-0.f), v); }

  static float largest_of(__m256 v) {
    const __m128 four = _mm_max_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
    const __m128 two = _mm_max_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_max_ss(two, _mm_movehdup_ps(two)));
  }

  /// x * inverse rounded to an integer, or x / d where the two may differ: see encode_avx512.h.
  static __m256i codes(__m256 x, float d, float inverse) {
    const __m256 ratio = _mm256_mul_ps(x, _mm256_set1_ps(inverse));
    __m256 code = _mm256_round_ps(ratio, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
    const __m256 off = magnitude(_mm256_sub_ps(ratio, code));
    if (_mm256_movemask_ps(_mm256_cmp_ps(off, _mm256_set1_ps(0.5f - 3e-5f), _CMP_GE_OQ)) != 0) code = _mm256_div_ps(x, _mm256_set1_ps(d));
    return _mm256_cvtps_epi32(code);
  }

  static void group(const float* x, int8_t* q, float& d, float& sum) {
    const __m256 low = _mm256_loadu_ps(x), high = _mm256_loadu_ps(x + 8), largest_finite = _mm256_set1_ps(0x1.fffffep127f);
    const __m256 a = magnitude(low), b = magnitude(high);
    const __m256 finite = _mm256_and_ps(_mm256_cmp_ps(a, largest_finite, _CMP_LE_OQ), _mm256_cmp_ps(b, largest_finite, _CMP_LE_OQ));
    if (_mm256_movemask_ps(finite) != 0xFF) return quant::Q8_G16::encode_group(x, q, d, sum);
    d = largest_of(_mm256_max_ps(a, b)) / 127;
    if (!(d >= 0x1p-126f)) return quant::Q8_G16::encode_group(x, q, d, sum);  // zeros; subnormal steps, whose inverse overflows
    const float inverse = 1 / d;
    const __m256i i = codes(low, d, inverse), j = codes(high, d, inverse);
    const __m256i words = _mm256_permute4x64_epi64(_mm256_packs_epi32(i, j), 0xD8);
    const __m128i bytes = _mm_packs_epi16(_mm256_castsi256_si128(words), _mm256_extracti128_si256(words, 1));
    _mm_storeu_si128(reinterpret_cast<__m128i*>(q), bytes);
    const __m128i sums = _mm_sad_epu8(_mm_xor_si128(bytes, _mm_set1_epi8(-128)), _mm_setzero_si128());  // of q + 128
    sum = static_cast<float>(_mm_cvtsi128_si32(sums) + _mm_extract_epi16(sums, 4) - 16 * 128);
  }

  static void groups(const float* x, int64_t n, int8_t* q, float* d, float* sum) {
    for (int64_t g = 0; g < n; ++g) group(x + 16 * g, q + 16 * g, d[g], sum[g]);
  }

  static __m256i halves(const float* x) {  // in the low half of each lane
    const __m256 v = _mm256_loadu_ps(x);
    const __m256i bits = _mm256_castps_si256(v), odd = _mm256_and_si256(_mm256_srli_epi32(bits, 16), _mm256_set1_epi32(1));
    const __m256i rounded = _mm256_add_epi32(_mm256_add_epi32(bits, _mm256_set1_epi32(0x7FFF)), odd);
    const __m256i quiet = _mm256_or_si256(bits, _mm256_set1_epi32(0x400000));
    return _mm256_srli_epi32(_mm256_blendv_epi8(rounded, quiet, _mm256_castps_si256(_mm256_cmp_ps(v, v, _CMP_UNORD_Q))), 16);
  }
  static void round(const float* x, std::byte* out) {
    for (int i = 0; i < 32; i += 16) {
      const __m256i mixed = _mm256_packus_epi32(halves(x + i), halves(x + i + 8));  // 64-bit pieces 0 2 1 3
      _mm256_storeu_si256(reinterpret_cast<__m256i*>(out + 2 * i), _mm256_permute4x64_epi64(mixed, 0xD8));
    }
  }

  static void columns(const std::byte* rows, int64_t stride, std::byte* tile) {
    for (int pair = 0; pair < 16; ++pair)
      for (int t = 0; t < 16; ++t) std::memcpy(tile + 64 * pair + 4 * t, rows + stride * t + 4 * pair, 4);
  }
};

}  // namespace KERF_ISA
}  // namespace kerf::cpu
