// rope, rung 2: simd_rope.h with 8 lanes (AVX2, FMA).
#include "backends/cpu/batch_avx2.h"
#include "backends/cpu/simd_rope.h"
#include "backends/cpu/simd_rung.h"

namespace kerf::cpu {
void rope_2_simd_avx2(Registry::Adder r);
void rope_2_simd_avx2(Registry::Adder r) {
  add_rung(r, {.op = Rope::name,
               .variant = "2_simd_avx2",
               .improves = "1_plain",
               .note = "8 values per instruction; the coefficients of a token are set up once for all heads",
               .preference = 2,
               .isa = Isa::avx2,
               .accepts = accepts_all,
               .run = rope<BatchAvx2>});
}

}  // namespace kerf::cpu
