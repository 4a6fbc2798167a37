// AVX-512 F, BW, DQ, VL.
#include <immintrin.h>

#include "experiments/roof/exp.h"
#include "experiments/roof/read.h"
#include "experiments/roof/spin.h"

namespace kerf::roof {
namespace {

struct Avx512 {
  static constexpr int bytes = 64;
  static __m512i load(const std::byte* p) { return _mm512_load_si512(p); }
};

/// attention::Lanes as backends/cpu has it for AVX-512; what exp does not call is only declared.
struct Floats {
  using V = __m512;
  static constexpr int64_t width = 16;
  static constexpr int max_rows = 1;
  static V load(const float* p) { return _mm512_loadu_ps(p); }
  static V load(const uint16_t* p);
  static void store(float* p, V v);
  static void transpose(V* rows);
  static V all(float x) { return _mm512_set1_ps(x); }
  static V add(V a, V b) { return _mm512_add_ps(a, b); }
  static V mul(V a, V b) { return _mm512_mul_ps(a, b); }
  static V fma(V a, V b, V c) { return _mm512_fmadd_ps(a, b, c); }
  static V max(V a, V b) { return _mm512_max_ps(a, b); }
  static V round(V v) { return _mm512_roundscale_ps(v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
  static V zero_below(V x, V limit, V y) { return _mm512_maskz_mov_ps(_mm512_cmp_ps_mask(x, limit, _CMP_NLT_UQ), y); }
  static V times_pow2(V v, V n) { return _mm512_scalef_ps(v, n); }
  static float total(V v) { return _mm512_reduce_add_ps(v); }
};

}  // namespace

float exp_avx512(const float* x, int64_t n) { return sum_of_exp<Floats>(x, n); }

void read_avx512(const std::byte* p, int64_t bytes, int64_t passes, int streams, int64_t ahead) {
  read_with<Avx512>(p, bytes, passes, streams, ahead);
}

float fp32_avx512(int64_t n) {
  const __m512 half = _mm512_set1_ps(0.5f);
  const auto step = [&](__m512 s) { return _mm512_fmadd_ps(s, half, half); };
  return _mm512_cvtss_f32(spin(n, half, step, [](__m512 a, __m512 b) { return _mm512_add_ps(a, b); }));
}

float int8_avx512(int64_t n) {
  const __m512i w = _mm512_set1_epi8(3), ones = _mm512_set1_epi16(1);
  const auto product = [&](__m512i x) { return _mm512_madd_epi16(_mm512_maddubs_epi16(w, x), ones); };
  const __m512i sum = spin_products(n, w, product, [](__m512i a, __m512i b) { return _mm512_add_epi32(a, b); });
  return static_cast<float>(_mm512_reduce_add_epi32(sum));
}

}  // namespace kerf::roof
