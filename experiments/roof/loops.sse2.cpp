// What every x86-64 has: SSE2, with multiplication and addition apart.
#include <emmintrin.h>

#include "experiments/roof/read.h"
#include "experiments/roof/spin.h"

namespace kerf::roof {
namespace {

struct Sse2 {
  static constexpr int bytes = 16;
  static __m128i load(const std::byte* p) { return _mm_load_si128(reinterpret_cast<const __m128i*>(p)); }
};

}  // namespace

void read_sse2(const std::byte* p, int64_t bytes, int64_t passes, int streams, int64_t ahead) { read_with<Sse2>(p, bytes, passes, streams, ahead); }

float fp32_sse2(int64_t n) {
  const __m128 half = _mm_set1_ps(0.5f);
  const auto step = [&](__m128 s) { return _mm_add_ps(_mm_mul_ps(s, half), half); };
  return _mm_cvtss_f32(spin(n, half, step, [](__m128 a, __m128 b) { return _mm_add_ps(a, b); }));
}

float int8_sse2(int64_t n) {
  const __m128i w = _mm_set1_epi16(3);
  const auto product = [&](__m128i x) { return _mm_madd_epi16(x, w); };
  return static_cast<float>(_mm_cvtsi128_si32(spin_products(n, w, product, [](__m128i a, __m128i b) { return _mm_add_epi32(a, b); })));
}

}  // namespace kerf::roof
