// argmax, rung 3: simd_argmax.h with 16 lanes (AVX-512F).
#include "backends/cpu/batch_avx512.h"
#include "backends/cpu/simd_argmax.h"
#include "backends/cpu/simd_rung.h"

namespace kerf::cpu {

void argmax_3_simd_avx512(Registry::Adder r);
void argmax_3_simd_avx512(Registry::Adder r) {
  add_rung(r, {.op = Argmax::name,
               .variant = "3_simd_avx512",
               .improves = "2_simd_avx2",
               .note = "the same algorithm on 16 lanes: half the instructions",
               .preference = 3,
               .isa = Isa::avx512,
               .accepts = accepts_all,
               .run = argmax<BatchAvx512>,
               .scratch_bytes = argmax_scratch});
}

}  // namespace kerf::cpu
