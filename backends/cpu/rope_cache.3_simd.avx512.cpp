// rope_cache, rung 3: simd_rope_cache.h with 16 lanes (AVX-512F).
#include <immintrin.h>

#include "backends/cpu/simd_rope_cache.h"
#include "backends/cpu/simd_rung.h"

namespace kerf::cpu {
namespace {

using Batch = xsimd::batch<float, xsimd::avx512f>;

struct SwapNeighbours {
  static Batch of(const Batch& x) { return _mm512_permute_ps(x, 0xB1); }
};

struct ToHalf {
  static void store(const Batch& x, uint16_t* out) {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(out), _mm512_cvtps_ph(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
  }
};

}  // namespace

void rope_cache_3_simd_avx512(Registry::Adder r);
void rope_cache_3_simd_avx512(Registry::Adder r) {
  add_rung(r, {.op = RopeCache::name,
               .variant = "3_simd_avx512",
               .improves = "2_simd_avx2",
               .note = "the same algorithm on 16 lanes: half the instructions",
               .preference = 3,
               .isa = Isa::avx512,
               .accepts = accepts_rope_cache,
               .run = rope_cache<Batch, SwapNeighbours, ToHalf>,
               .scratch_bytes = rope_cache_scratch});
}

}  // namespace kerf::cpu
