// The encoder of simd_write.h for AVX-512. Bit for bit what quant/q8_g16.h and core/half.h define.
#pragma once
#include <immintrin.h>

#include "backends/cpu/transpose.h"
#include "quant/q8_g16.h"

namespace kerf::cpu {
inline namespace KERF_ISA {

/// f32 rounded to bf16 in the upper half of each lane, as core/half.h defines it: with integers, since vcvtneps2bf16 would turn
/// subnormals into zeros.
inline __m512i rounded_to_bf16(__m512 v) {
  const __m512i bits = _mm512_castps_si512(v), odd = _mm512_and_si512(_mm512_srli_epi32(bits, 16), _mm512_set1_epi32(1));
  const __m512i rounded = _mm512_add_epi32(_mm512_add_epi32(bits, _mm512_set1_epi32(0x7FFF)), odd);
  return _mm512_mask_or_epi32(rounded, _mm512_cmp_ps_mask(v, v, _CMP_UNORD_Q), bits, _mm512_set1_epi32(0x400000));
}

struct EncodeAvx512 {
  /// A group alone: two reductions within a register, a division of 16 lanes, and the way to scalars and back.
  static void group(const float* x, int8_t* q, float& d, float& sum) {
    const __m512 v = _mm512_loadu_ps(x), a = _mm512_abs_ps(v), limit = _mm512_set1_ps(127);
    if (_mm512_cmp_ps_mask(a, _mm512_set1_ps(0x1.fffffep127f), _CMP_LE_OQ) != 0xFFFF) return quant::Q8_G16::encode_group(x, q, d, sum);
    d = _mm512_reduce_max_ps(a) / 127;
    if (!(d > 0)) return quant::Q8_G16::encode_group(x, q, d, sum);
    const __m512 ratio = _mm512_div_ps(v, _mm512_set1_ps(d));
    const __m512i codes = _mm512_cvtps_epi32(_mm512_max_ps(_mm512_min_ps(ratio, limit), _mm512_set1_ps(-127)));
    _mm_storeu_si128(reinterpret_cast<__m128i*>(q), _mm512_cvtepi32_epi8(codes));
    sum = static_cast<float>(_mm512_reduce_add_epi32(codes));
  }

  /// Lane g is the largest lane of r[g] (signed): four rounds that each halve the number of registers, 30 shuffles instead of
  /// the 64 of sixteen reductions.
  static __m512i largest_of_each(const __m512i (&r)[16]) {
    __m512i a[8], b[4], c[2];
    for (int i = 0; i < 8; ++i)  // blocks of 4 lanes: r[i] twice, r[i + 8] twice
      a[i] = _mm512_max_epi32(_mm512_shuffle_i32x4(r[i], r[i + 8], 0x44), _mm512_shuffle_i32x4(r[i], r[i + 8], 0xEE));
    for (int i = 0; i < 4; ++i)  // r[i], r[i + 8], r[i + 4], r[i + 12]
      b[i] = _mm512_max_epi32(_mm512_shuffle_i32x4(a[i], a[i + 4], 0x88), _mm512_shuffle_i32x4(a[i], a[i + 4], 0xDD));
    for (int i = 0; i < 2; ++i)  // the same with i, i, i + 2, i + 2 in each block
      c[i] = _mm512_max_epi32(_mm512_unpacklo_epi64(b[i], b[i + 2]), _mm512_unpackhi_epi64(b[i], b[i + 2]));
    const __m512 c0 = _mm512_castsi512_ps(c[0]), c1 = _mm512_castsi512_ps(c[1]);  // then with 0, 2, 1, 3
    const __m512i mixed =
        _mm512_max_epi32(_mm512_castps_si512(_mm512_shuffle_ps(c0, c1, 0x88)), _mm512_castps_si512(_mm512_shuffle_ps(c0, c1, 0xDD)));
    return _mm512_permutexvar_epi32(_mm512_setr_epi32(0, 2, 1, 3, 8, 10, 9, 11, 4, 6, 5, 7, 12, 14, 13, 15), mixed);
  }

  /// Codes of four groups as 64 bytes in order.
  static __m512i packed(const __m512i* codes) {
    const __m512i words01 = _mm512_packs_epi32(codes[0], codes[1]), words23 = _mm512_packs_epi32(codes[2], codes[3]);
    const __m512i order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
    return _mm512_permutexvar_epi32(order, _mm512_packs_epi16(words01, words23));
  }

  /// Sixteen groups at once, a quarter of the instructions of sixteen alone. False, and nothing is written, if one of them is
  /// not usual: it has a NaN, an infinity, or only zeros, its step is subnormal, or a code is doubtful.
  ///
  /// The code is x / d, rounded to f32 and then to an integer. Here it is x * (1/d), rounded to an integer at once by adding
  /// 1.5 * 2^23. 1/d is off by 2^-24 of itself and the quotient is at most 127, so before that last rounding the two differ by
  /// at most 127 * 2^-23 = 1.5e-5: the codes are equal unless x * (1/d) is that near to the middle of two integers, as one value
  /// in 25000 is.
  static bool sixteen_groups(const float* x, int8_t* q, float* d, float* sum) {
    const __m512i magnitude = _mm512_set1_epi32(0x7FFFFFFF);
    __m512i a[16];
    for (int g = 0; g < 16; ++g) a[g] = _mm512_and_si512(_mm512_castps_si512(_mm512_loadu_ps(x + 16 * g)), magnitude);
    const __m512i largest = largest_of_each(a);  // as integers magnitudes have the order of floats, and NaN is above infinity
    const __m512 step = _mm512_div_ps(_mm512_castsi512_ps(largest), _mm512_set1_ps(127));
    if (_mm512_cmp_ps_mask(step, _mm512_set1_ps(0x1p-126f), _CMP_GE_OQ) != 0xFFFF || _mm512_cmpge_epi32_mask(largest, _mm512_set1_epi32(0x7F800000)))
      return false;
    alignas(64) float inverse[16];
    _mm512_store_ps(inverse, _mm512_div_ps(_mm512_set1_ps(1), step));
    const __m512 integer = _mm512_set1_ps(0x1.8p23f);
    __m512 off = _mm512_setzero_ps();
    __m512i bytes[4];
    for (int i = 0; i < 4; ++i) {
      __m512i codes[4];
      for (int j = 0; j < 4; ++j) {
        const __m512 v = _mm512_loadu_ps(x + 64 * i + 16 * j), by = _mm512_set1_ps(inverse[4 * i + j]);
        const __m512 rounded = _mm512_fmadd_ps(v, by, integer);
        off = _mm512_range_ps(off, _mm512_fmsub_ps(v, by, _mm512_sub_ps(rounded, integer)), 0x0B);  // the larger magnitude, positive
        codes[j] = _mm512_sub_epi32(_mm512_castps_si512(rounded), _mm512_castps_si512(integer));
      }
      bytes[i] = packed(codes);
    }
    if (_mm512_cmp_ps_mask(off, _mm512_set1_ps(0.5f - 2e-5f), _CMP_GE_OQ) != 0) return false;
    __m512i halves[4];  // sums of 8 bytes q + 128
    for (int i = 0; i < 4; ++i) {
      _mm512_storeu_si512(q + 64 * i, bytes[i]);
      halves[i] = _mm512_sad_epu8(_mm512_xor_si512(bytes[i], _mm512_set1_epi8(-128)), _mm512_setzero_si512());
    }
    const __m512i low = _mm512_add_epi64(_mm512_unpacklo_epi64(halves[0], halves[1]), _mm512_unpackhi_epi64(halves[0], halves[1]));
    const __m512i high = _mm512_add_epi64(_mm512_unpacklo_epi64(halves[2], halves[3]), _mm512_unpackhi_epi64(halves[2], halves[3]));
    const __m512i order = _mm512_setr_epi32(0, 4, 8, 12, 2, 6, 10, 14, 16, 20, 24, 28, 18, 22, 26, 30);
    const __m512i sums = _mm512_sub_epi32(_mm512_permutex2var_epi32(low, order, high), _mm512_set1_epi32(16 * 128));
    _mm512_storeu_ps(d, step);
    _mm512_storeu_ps(sum, _mm512_cvtepi32_ps(sums));
    return true;
  }

  static void groups(const float* x, int64_t n, int8_t* q, float* d, float* sum) {
    for (int64_t g = 0; g < n;) {
      const bool full = n - g >= 16;
      const int64_t end = full ? g + 16 : n;
      if (full && sixteen_groups(x + 16 * g, q + 16 * g, d + g, sum + g))
        g = end;
      else
        for (; g < end; ++g) group(x + 16 * g, q + 16 * g, d[g], sum[g]);
    }
  }

  static __m256i halves(const float* x) { return _mm512_cvtepi32_epi16(_mm512_srli_epi32(rounded_to_bf16(_mm512_loadu_ps(x)), 16)); }
  static void round(const float* x, std::byte* out) {
    _mm512_storeu_si512(out, _mm512_inserti64x4(_mm512_castsi256_si512(halves(x)), halves(x + 16), 1));
  }

  static void columns(const std::byte* rows, int64_t stride, std::byte* tile) {
    transpose_rows(rows, stride, [&](int c, __m512i v) { _mm512_storeu_si512(tile + 64 * c, v); });
  }
};

}  // namespace KERF_ISA
}  // namespace kerf::cpu
