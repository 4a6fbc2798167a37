// rope_cache, rung 2: simd_rope_cache.h with 8 lanes (AVX2, FMA, F16C).
#include "backends/cpu/batch_avx2.h"
#include "backends/cpu/simd_rope_cache.h"
#include "backends/cpu/simd_rung.h"

namespace kerf::cpu {
void rope_cache_2_simd_avx2(Registry::Adder r);
void rope_cache_2_simd_avx2(Registry::Adder r) {
  add_rung(r, {.op = RopeCache::name,
               .variant = "2_simd_avx2",
               .improves = "1_plain",
               .note = "8 values per instruction, in the rotation and in the conversion of what is written",
               .preference = 2,
               .isa = Isa::avx2,
               .accepts = accepts_rope_cache,
               .run = rope_cache<BatchAvx2>,
               .scratch_bytes = rope_cache_scratch});
}

}  // namespace kerf::cpu
