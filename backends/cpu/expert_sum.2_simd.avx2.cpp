// expert_sum, rung 2: simd_expert_sum.h with 8 lanes (AVX2, FMA).
#include "backends/cpu/batch_avx2.h"
#include "backends/cpu/simd_expert_sum.h"
#include "backends/cpu/simd_rung.h"

namespace kerf::cpu {

void expert_sum_2_simd_avx2(Registry::Adder r);
void expert_sum_2_simd_avx2(Registry::Adder r) {
  add_rung(r, {.op = ExpertSum::name,
               .variant = "2_simd_avx2",
               .improves = "1_plain",
               .note = "the sum stays in a register while the rows go by, so the output is written once instead of once per slot",
               .preference = 2,
               .isa = Isa::avx2,
               .accepts = accepts_all,
               .run = expert_sum<BatchAvx2>});
}

}  // namespace kerf::cpu
