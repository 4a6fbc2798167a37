// convert q8_g16.2_simd_avx2: a group is two registers. Bit for bit the same as the definition: vdivps and vcvtps2dq round
// as division and nearbyint do, and the clamp is not needed for finite groups except where d is subnormal.
#include <immintrin.h>

#include "backends/cpu/convert.h"
#include "backends/cpu/simd_rung.h"
#include "quant/q8_g16.h"

namespace kerf::cpu {
void convert_q8_g16_2_simd_avx2(Registry::Adder);
namespace {

__m256 magnitude(__m256 v) { return _mm256_andnot_ps(_mm256_set1_ps(-0.f), v); }

float largest_of(__m256 v) {
  const __m128 four = _mm_max_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
  const __m128 two = _mm_max_ps(four, _mm_movehl_ps(four, four));
  return _mm_cvtss_f32(_mm_max_ss(two, _mm_movehdup_ps(two)));
}

__m256i codes(__m256 x, __m256 d) {
  const __m256 ratio = _mm256_div_ps(x, d), limit = _mm256_set1_ps(127);
  return _mm256_cvtps_epi32(_mm256_max_ps(_mm256_min_ps(ratio, limit), _mm256_sub_ps(_mm256_setzero_ps(), limit)));
}

void encode_group(const float* x, int8_t* q, float& d, float& sum) {
  const __m256 low = _mm256_loadu_ps(x), high = _mm256_loadu_ps(x + 8), largest_finite = _mm256_set1_ps(0x1.fffffep127f);
  const __m256 a = magnitude(low), b = magnitude(high);
  const __m256 finite = _mm256_and_ps(_mm256_cmp_ps(a, largest_finite, _CMP_LE_OQ), _mm256_cmp_ps(b, largest_finite, _CMP_LE_OQ));
  if (_mm256_movemask_ps(finite) != 0xFF) return quant::Q8_G16::encode_group(x, q, d, sum);
  d = largest_of(_mm256_max_ps(a, b)) / 127;
  if (!(d > 0)) return quant::Q8_G16::encode_group(x, q, d, sum);
  const __m256i i = codes(low, _mm256_set1_ps(d)), j = codes(high, _mm256_set1_ps(d));
  const __m256i words = _mm256_permute4x64_epi64(_mm256_packs_epi32(i, j), 0xD8);
  const __m128i bytes = _mm_packs_epi16(_mm256_castsi256_si128(words), _mm256_extracti128_si256(words, 1));
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

void convert_q8_g16_2_simd_avx2(Registry::Adder registry) {
  add_rung(registry, {.op = Convert::name,
                      .variant = "q8_g16.2_simd_avx2",
                      .improves = "q8_g16.1_generic",
                      .note = "a group of 16 in two registers",
                      .preference = 2,
                      .isa = Isa::avx2,
                      .accepts = accepts_encode,
                      .run = run});
}

}  // namespace kerf::cpu
