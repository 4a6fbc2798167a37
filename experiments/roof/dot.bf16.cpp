// AVX512_BF16, which some processors without tiles have and some with tiles have only slowly.
#include <immintrin.h>

#include "experiments/roof/spin.h"

namespace kerf::roof {

float bf16_dot(int64_t n) {
  const __m512 zero = _mm512_setzero_ps(), ones = _mm512_set1_ps(1);
  const __m512bh x = _mm512_cvtne2ps_pbh(ones, ones);
  const auto step = [&](__m512 s) { return _mm512_dpbf16_ps(s, x, x); };
  return _mm512_cvtss_f32(spin(n, zero, step, [](__m512 a, __m512 b) { return _mm512_add_ps(a, b); }));
}

}  // namespace kerf::roof
