// expert_matmul, expert_swiglu, expert_matmul_sum with AVX-512 VNNI: the rows of matmul's <type>.3_vnni for an expert of few
// tokens, those of <type>.4_panel for more. Weights stay as the file has them: an expert that no token needs stays cold.
#include "backends/cpu/batch_avx512.h"
#include "backends/cpu/encode_avx512.h"
#include "backends/cpu/simd_experts.h"

namespace kerf::cpu {
void experts_4_panel_vnni(Registry::Adder);

void experts_4_panel_vnni(Registry::Adder registry) {
  add_expert_rungs(
      registry,
      {.variant = "q8.4_vnni",
       .improves = "q8.2_avx2",
       .note = "64 products in one instruction; from 8 tokens of an expert on, sixteen rows are transposed into lanes for all of them",
       .preference = 30,
       .isa = Isa::vnni,
       .integer = true,
       .coded = true},
      [](const Problem& p, const Call& call) { run_experts(p, call, expert_code<BatchAvx512, EncodeAvx512>(vnni_rows, vnni_panel_rows)); });
}

}  // namespace kerf::cpu
