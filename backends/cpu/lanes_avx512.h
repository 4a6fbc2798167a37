// AVX-512 as the Lanes of attention/flash.h.
#pragma once
#include "attention/flash.h"
#include "backends/cpu/transpose.h"

namespace kerf::cpu {
inline namespace KERF_ISA {

struct Avx512 {
  using V = __m512;
  static constexpr int64_t width = 16;
  static constexpr int max_rows = 8;
  static V load(const float* p) { return _mm512_loadu_ps(p); }
  static V load(const uint16_t* p) { return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p))); }
  static void store(float* p, V v) { _mm512_storeu_ps(p, v); }
  static V all(float x) { return _mm512_set1_ps(x); }
  static V add(V a, V b) { return _mm512_add_ps(a, b); }
  static V mul(V a, V b) { return _mm512_mul_ps(a, b); }
  static V fma(V a, V b, V c) { return _mm512_fmadd_ps(a, b, c); }
  static V max(V a, V b) { return _mm512_max_ps(a, b); }
  static V round(V v) { return _mm512_roundscale_ps(v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
  static V zero_below(V x, V limit, V y) { return _mm512_maskz_mov_ps(_mm512_cmp_ps_mask(x, limit, _CMP_NLT_UQ), y); }
  static V times_pow2(V v, V n) { return _mm512_scalef_ps(v, n); }
  static void transpose(V* r) { transpose16(r); }
};
static_assert(attention::Lanes<Avx512>);

}  // namespace KERF_ISA
}  // namespace kerf::cpu
