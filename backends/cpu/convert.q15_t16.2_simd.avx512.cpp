// convert q15_t16.2_simd_avx512: the largest of a row's group, then its codes as rows of bytes, whose words of four become columns.
#include <immintrin.h>

#include "backends/cpu/convert.h"
#include "backends/cpu/simd_rung.h"
#include "backends/cpu/transpose.h"
#include "quant/q15_t16.h"

namespace kerf::cpu {
void convert_q15_t16_2_simd_avx512(Registry::Adder);
namespace {

using quant::Q15_T16;

float step_of(const float* x, int64_t n) {
  __m512i most = _mm512_setzero_si512();
  for (int64_t i = 0; i < n; i += 16) most = _mm512_max_epi32(most, _mm512_and_si512(_mm512_loadu_si512(x + i), _mm512_set1_epi32(0x7FFFFFFF)));
  return Q15_T16::step_of(std::bit_cast<float>(_mm512_reduce_max_epi32(most)));
}

/// 64 values: the upper bytes of their codes to hi[0..64), the lower ones to lo[0..64).
void encode_row(const float* x, float step, std::byte* hi, std::byte* lo) {
  const __m512i half = _mm512_set1_epi16(64), low = _mm512_set1_epi16(127);
  const __m512 inverse = _mm512_set1_ps(Q15_T16::inverse_of(step));
  const __mmask16 kept = step > 0 ? 0xFFFF : 0;
  const auto codes = [&](int i) { return _mm512_cvtps_epi32(_mm512_mul_ps(_mm512_maskz_loadu_ps(kept, x + i), inverse)); };
  // Packing goes by 128 bits: in lane i the quads i of the four registers, put right at the end.
  const __m512i a = _mm512_add_epi16(_mm512_packs_epi32(codes(0), codes(16)), half),
                b = _mm512_add_epi16(_mm512_packs_epi32(codes(32), codes(48)), half);
  const __m512i order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
  const __m512i upper = _mm512_packs_epi16(_mm512_srai_epi16(a, 7), _mm512_srai_epi16(b, 7));
  const __m512i lower = _mm512_packs_epi16(_mm512_sub_epi16(_mm512_and_si512(a, low), half), _mm512_sub_epi16(_mm512_and_si512(b, low), half));
  _mm512_store_si512(hi, _mm512_permutexvar_epi32(order, upper));
  _mm512_store_si512(lo, _mm512_permutexvar_epi32(order, lower));
}

void encode_group(const float* x, int64_t stride, int rows, int64_t n, std::byte* tiles, float* steps) {
  alignas(64) std::byte hi[Q15_T16::kTileBytes] = {}, lo[Q15_T16::kTileBytes] = {};
  alignas(64) float step[16] = {};
  for (int t = 0; t < rows; ++t) step[t] = step_of(x + t * stride, n);
  for (int64_t k = 0; k < n; k += Q15_T16::kCols, tiles += 2 * Q15_T16::kTileBytes, steps += 16) {
    for (int t = 0; t < rows; ++t) encode_row(x + t * stride + k, step[t], hi + 64 * t, lo + 64 * t);
    transpose_rows(hi, 64, [&](int c, __m512i v) { _mm512_storeu_si512(tiles + 64 * c, v); });
    transpose_rows(lo, 64, [&](int c, __m512i v) { _mm512_storeu_si512(tiles + Q15_T16::kTileBytes + 64 * c, v); });
    _mm512_storeu_ps(steps, _mm512_load_ps(step));
  }
}

void run(const Problem&, const Call& call) { run_encode_groups(call, encode_group); }

}  // namespace

void convert_q15_t16_2_simd_avx512(Registry::Adder registry) {
  add_rung(registry, {.op = Convert::name,
                      .variant = "q15_t16.2_simd_avx512",
                      .improves = "q15_t16.1_generic",
                      .note = "64 values of a row become bytes at once; words of four bytes become columns in 32 shuffles a tile",
                      .preference = 2,
                      .isa = Isa::avx512,
                      .accepts = accepts_encode_groups,
                      .run = run});
}

}  // namespace kerf::cpu
