// gated_delta_rule, rung 3: simd_delta_rows.h with 16 lanes (AVX-512F).
#include "backends/cpu/batch_avx512.h"
#include "backends/cpu/simd_delta_rows.h"

namespace kerf::cpu {

void gated_delta_rule_3_rows_avx512(Registry::Adder r);
void gated_delta_rule_3_rows_avx512(Registry::Adder r) {
  add_rung(r, {.op = GatedDeltaRule::name,
               .variant = "3_rows_avx512",
               .improves = "2_rows_avx2",
               .note = "two rows of 128 in 16 registers: no access to the state between the tokens of a stretch",
               .preference = 3,
               .isa = Isa::avx512,
               .accepts = accepts_delta_rows,
               .run = delta_rows<BatchAvx512>});
}

}  // namespace kerf::cpu
