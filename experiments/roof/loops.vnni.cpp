// AVX512_VNNI.
#include <immintrin.h>

#include "experiments/roof/spin.h"

namespace kerf::roof {

float int8_vnni(int64_t n) {
  const __m512i x = _mm512_set1_epi8(3);
  const auto step = [&](__m512i s) { return _mm512_dpbusd_epi32(s, x, x); };
  const __m512i sum = spin(n, x, step, [](__m512i a, __m512i b) { return _mm512_add_epi32(a, b); });
  return static_cast<float>(_mm512_reduce_add_epi32(sum));
}

}  // namespace kerf::roof
