// rope_cache, rung 2: simd_rope_cache.h with 8 lanes (AVX2, FMA, F16C).
#include <immintrin.h>

#include "backends/cpu/simd_rope_cache.h"
#include "backends/cpu/simd_rung.h"

namespace kerf::cpu {
namespace {

using Batch = xsimd::batch<float, xsimd::fma3<xsimd::avx2>>;

struct SwapNeighbours {
  static Batch of(const Batch& x) { return _mm256_permute_ps(x, 0xB1); }
};

struct ToHalf {
  static void store(const Batch& x, uint16_t* out) {
    _mm_storeu_si128(reinterpret_cast<__m128i*>(out), _mm256_cvtps_ph(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
  }
};

}  // namespace

void rope_cache_2_simd_avx2(Registry::Adder r);
void rope_cache_2_simd_avx2(Registry::Adder r) {
  add_rung(r, {.op = RopeCache::name,
               .variant = "2_simd_avx2",
               .improves = "1_plain",
               .note = "8 values per instruction, in the rotation and in the conversion of what is written",
               .preference = 2,
               .isa = Isa::avx2,
               .accepts = accepts_rope_cache,
               .run = rope_cache<Batch, SwapNeighbours, ToHalf>,
               .scratch_bytes = rope_cache_scratch});
}

}  // namespace kerf::cpu
