// convert q8_g16.3_simd_avx512: a group is one register. Same bits as the definition, see the rung below.
#include <immintrin.h>

#include "backends/cpu/convert.h"
#include "backends/cpu/simd_rung.h"
#include "quant/q8_g16.h"

namespace kerf::cpu {
void convert_q8_g16_3_simd_avx512(Registry::Adder);
namespace {

float largest_of(__m512 v) {
  const __m256 eight = _mm256_max_ps(_mm512_castps512_ps256(v), _mm512_extractf32x8_ps(v, 1));
  const __m128 four = _mm_max_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
  const __m128 two = _mm_max_ps(four, _mm_movehl_ps(four, four));
  return _mm_cvtss_f32(_mm_max_ss(two, _mm_movehdup_ps(two)));
}

void encode_group(const float* x, int8_t* q, float& d, float& sum) {
  const __m512 v = _mm512_loadu_ps(x), a = _mm512_abs_ps(v), limit = _mm512_set1_ps(127);
  if (_mm512_cmp_ps_mask(a, _mm512_set1_ps(0x1.fffffep127f), _CMP_LE_OQ) != 0xFFFF) return quant::Q8_G16::encode_group(x, q, d, sum);
  d = largest_of(a) / 127;
  if (!(d > 0)) return quant::Q8_G16::encode_group(x, q, d, sum);
  const __m512 ratio = _mm512_div_ps(v, _mm512_set1_ps(d));
  const __m512i codes = _mm512_cvtps_epi32(_mm512_max_ps(_mm512_min_ps(ratio, limit), _mm512_set1_ps(-127)));
  const __m128i bytes = _mm512_cvtepi32_epi8(codes);
  _mm_storeu_si128(reinterpret_cast<__m128i*>(q), bytes);
  const __m128i sums = _mm_sad_epu8(_mm_xor_si128(bytes, _mm_set1_epi8(-128)), _mm_setzero_si128());  // of q + 128
  sum = static_cast<float>(_mm_cvtsi128_si32(sums) + _mm_extract_epi16(sums, 4) - 16 * 128);
}

void encode_row(const float* x, int64_t K, void* row) {
  auto* q = static_cast<int8_t*>(row);
  auto* d = reinterpret_cast<float*>(q + K);
  for (int64_t g = 0; g < K / 16; ++g) encode_group(x + 16 * g, q + 16 * g, d[g], d[K / 16 + g]);
}

void run(const Problem&, const Call& call) { run_encode(call, encode_row); }

}  // namespace

void convert_q8_g16_3_simd_avx512(Registry::Adder registry) {
  add_rung(registry, {.op = Convert::name,
                      .variant = "q8_g16.3_simd_avx512",
                      .improves = "q8_g16.2_simd_avx2",
                      .note = "a group of 16 in one register",
                      .preference = 3,
                      .isa = Isa::avx512,
                      .accepts = accepts_encode,
                      .run = run});
}

}  // namespace kerf::cpu
