// AVX2 and FMA.
#include <immintrin.h>

#include "experiments/roof/exp.h"
#include "experiments/roof/read.h"
#include "experiments/roof/spin.h"

namespace kerf::roof {
namespace {

struct Avx2 {
  static constexpr int bytes = 32;
  static __m256i load(const std::byte* p) { return _mm256_load_si256(reinterpret_cast<const __m256i*>(p)); }
};

/// attention::Lanes as backends/cpu has it for AVX2; what exp does not call is only declared.
struct Floats {
  using V = __m256;
  static constexpr int64_t width = 8;
  static constexpr int max_rows = 1;
  static V load(const float* p) { return _mm256_loadu_ps(p); }
  static V load(const uint16_t* p);
  static void store(float* p, V v);
  static void transpose(V* rows);
  static V all(float x) { return _mm256_set1_ps(x); }
  static V add(V a, V b) { return _mm256_add_ps(a, b); }
  static V mul(V a, V b) { return _mm256_mul_ps(a, b); }
  static V fma(V a, V b, V c) { return _mm256_fmadd_ps(a, b, c); }
  static V max(V a, V b) { return _mm256_max_ps(a, b); }
  static V round(V v) { return _mm256_round_ps(v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
  static V zero_below(V x, V limit, V y) { return _mm256_andnot_ps(_mm256_cmp_ps(x, limit, _CMP_LT_OQ), y); }
  static V times_pow2(V v, V n) {
    return _mm256_mul_ps(v, _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(127)), 23)));
  }
  static float total(V v) {
    float x[8], sum = 0;
    _mm256_storeu_ps(x, v);
    for (const float f : x) sum += f;
    return sum;
  }
};

}  // namespace

float exp_avx2(const float* x, int64_t n) { return sum_of_exp<Floats>(x, n); }

void read_avx2(const std::byte* p, int64_t bytes, int64_t passes, int streams, int64_t ahead) { read_with<Avx2>(p, bytes, passes, streams, ahead); }

float fp32_avx2(int64_t n) {
  const __m256 half = _mm256_set1_ps(0.5f);
  const auto step = [&](__m256 s) { return _mm256_fmadd_ps(s, half, half); };
  return _mm256_cvtss_f32(spin(n, half, step, [](__m256 a, __m256 b) { return _mm256_add_ps(a, b); }));
}

float int8_avx2(int64_t n) {
  const __m256i w = _mm256_set1_epi8(3), ones = _mm256_set1_epi16(1);
  const auto product = [&](__m256i x) { return _mm256_madd_epi16(_mm256_maddubs_epi16(w, x), ones); };
  return static_cast<float>(_mm256_cvtsi256_si32(spin_products(n, w, product, [](__m256i a, __m256i b) { return _mm256_add_epi32(a, b); })));
}

}  // namespace kerf::roof
