// Groups of weights as 15-bit numbers by the rule of quant/q15_t16.h: the largest first, which gives the step, then two
// bytes each. Steps are powers of two, so that f16 weights within a factor of 16 of the largest stay as they are.
#pragma once
#include <immintrin.h>

#include <bit>
#include <limits>

#include "quant/floats.h"
#include "quant/q15_t16.h"

namespace kerf::cpu {
inline namespace KERF_ISA {

// A panel is [K/64][hi: 2 tiles, lo: 2 tiles][16 rows][64 values].
inline constexpr int64_t kFixedStep = 4096, kFixedPlane = 2048;

struct FixedBytes {
  __m512i hi, lo;
};
/// 64 codes in two registers of 16-bit integers become bytes, packed 128 bits by 128 bits as vpacksswb does.
inline FixedBytes split_codes(__m512i a, __m512i b) {
  const __m512i half = _mm512_set1_epi16(64), low = _mm512_set1_epi16(127);
  const __m512i a1 = _mm512_add_epi16(a, half), b1 = _mm512_add_epi16(b, half);
  return {_mm512_packs_epi16(_mm512_srai_epi16(a1, 7), _mm512_srai_epi16(b1, 7)),
          _mm512_packs_epi16(_mm512_sub_epi16(_mm512_and_si512(a1, low), half), _mm512_sub_epi16(_mm512_and_si512(b1, low), half))};
}
inline void put_bytes(std::byte* out, __m512i hi, __m512i lo) {
  _mm512_store_si512(out, hi);
  _mm512_store_si512(out + kFixedPlane, lo);
}

/// Sixteen values of a type of one value per block.
inline __m512 fixed_sixteen(const quant::F32::Block* w) { return _mm512_loadu_ps(&w->value); }
inline __m512 fixed_sixteen(const quant::BF16::Block* w) {
  return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(w))), 16));
}

/// n <= kGroup values of a row, a multiple of 64, to their row of the panel's tiles. Returns the step.
template <class Block>
float fixed_group(const Block* w, int64_t n, std::byte* out) {
  __m512i most = _mm512_setzero_si512();
  for (int64_t i = 0; i < n; i += 16)
    most = _mm512_max_epi32(most, _mm512_and_si512(_mm512_castps_si512(fixed_sixteen(w + i)), _mm512_set1_epi32(0x7FFFFFFF)));
  const float step = quant::Q15_T16::step_of(std::bit_cast<float>(_mm512_reduce_max_epi32(most)));
  const __m512 inverse = _mm512_set1_ps(quant::Q15_T16::inverse_of(step));
  const __m512i order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
  for (int64_t i = 0; i < n; i += 64, out += kFixedStep) {
    const auto codes = [&](int64_t j) { return _mm512_cvtps_epi32(_mm512_mul_ps(fixed_sixteen(w + i + j), inverse)); };
    const auto [hi, lo] = split_codes(_mm512_packs_epi32(codes(0), codes(16)), _mm512_packs_epi32(codes(32), codes(48)));
    put_bytes(out, _mm512_permutexvar_epi32(order, hi), _mm512_permutexvar_epi32(order, lo));
  }
  return step;
}

/// Thirty-two f16 times two to the power of f16 `exponents`, to the nearest integer. Assembler: these are the only two of
/// AVX512-FP16 that pay here, and the compiler is not to use others; tests/kernels/tile_emulator.h knows these.
inline __m512i scaled_integers(__m512i halves, __m512i exponents) {
  __asm__("vscalefph %1, %0, %0\n\tvcvtph2w %0, %0" : "+v"(halves) : "v"(exponents));
  return halves;
}

/// f16 is scaled and rounded as f16: the scaling is exact, and so a product and a conversion of half the width suffice.
inline float fixed_group(const quant::F16::Block* w, int64_t n, std::byte* out) {
  const auto* half = reinterpret_cast<const uint16_t*>(w);
  __m512i most = _mm512_setzero_si512();
  for (int64_t i = 0; i < n; i += 32) most = _mm512_max_epu16(most, _mm512_and_si512(_mm512_loadu_si512(half + i), _mm512_set1_epi16(0x7FFF)));
  const __m256i eight = _mm256_max_epu16(_mm512_castsi512_si256(most), _mm512_extracti64x4_epi64(most, 1));
  const __m128i four = _mm_max_epu16(_mm256_castsi256_si128(eight), _mm256_extracti128_si256(eight, 1));
  const __m128i largest = _mm_xor_si128(_mm_minpos_epu16(_mm_xor_si128(four, _mm_set1_epi16(-1))), _mm_set1_epi16(-1));
  const float step = quant::Q15_T16::step_of(_mm_cvtss_f32(_mm_cvtph_ps(largest)));
  const bool finite = step > 0;
  const int exponent = finite ? 127 - static_cast<int>(std::bit_cast<uint32_t>(step) >> 23) : 0;
  const __m512i scale = _mm512_set1_epi16(static_cast<short>(_mm_cvtsi128_si32(_mm_cvtps_ph(_mm_set_ss(static_cast<float>(exponent)), 0))));
  const __mmask32 kept = finite ? 0xFFFFFFFFu : 0;
  const __m512i order = _mm512_setr_epi64(0, 2, 4, 6, 1, 3, 5, 7);
  for (int64_t i = 0; i < n; i += 64, out += kFixedStep) {
    const auto codes = [&](int64_t j) { return scaled_integers(_mm512_maskz_loadu_epi16(kept, half + i + j), scale); };
    const auto [hi, lo] = split_codes(codes(0), codes(32));
    put_bytes(out, _mm512_permutexvar_epi64(order, hi), _mm512_permutexvar_epi64(order, lo));
  }
  return step;
}

}  // namespace KERF_ISA
}  // namespace kerf::cpu
