// argmax, rung 2: simd_argmax.h with 8 lanes (AVX2, FMA).
#include "backends/cpu/batch_avx2.h"
#include "backends/cpu/simd_argmax.h"
#include "backends/cpu/simd_rung.h"

namespace kerf::cpu {

void argmax_2_simd_avx2(Registry::Adder r);
void argmax_2_simd_avx2(Registry::Adder r) {
  add_rung(r, {.op = Argmax::name,
               .variant = "2_simd_avx2",
               .improves = "1_plain",
               .note = "the largest value of spans of 512, 8 lanes at a time; its place is looked for in one span at the end",
               .preference = 2,
               .isa = Isa::avx2,
               .accepts = accepts_all,
               .run = argmax<BatchAvx2>,
               .scratch_bytes = argmax_scratch});
}

}  // namespace kerf::cpu
