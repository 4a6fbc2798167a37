// gated_delta_rule, rung 2: simd_delta_rows.h with 8 lanes (AVX2, FMA). Rows of 128 fill all 16 registers, so a part of them lives on the stack.
#include "backends/cpu/batch_avx2.h"
#include "backends/cpu/simd_delta_rows.h"

namespace kerf::cpu {

void gated_delta_rule_2_rows_avx2(Registry::Adder r);
void gated_delta_rule_2_rows_avx2(Registry::Adder r) {
  add_rung(r, {.op = GatedDeltaRule::name,
               .variant = "2_rows_avx2",
               .improves = "1_plain",
               .note = "sums in vectors, and each row loaded and stored once for 16 tokens instead of twice per token",
               .preference = 2,
               .isa = Isa::avx2,
               .accepts = accepts_delta_rows,
               .run = delta_rows<BatchAvx2>});
}

}  // namespace kerf::cpu
