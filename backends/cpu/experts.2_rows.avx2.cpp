// expert_matmul, expert_swiglu, expert_matmul_sum with AVX2: the rows of matmul's any.1_fma_avx2 and <type>.2_avx2.
#include "backends/cpu/batch_avx2.h"
#include "backends/cpu/encode_avx2.h"
#include "backends/cpu/simd_experts.h"

namespace kerf::cpu {
void experts_2_rows_avx2(Registry::Adder);

void experts_2_rows_avx2(Registry::Adder registry) {
  add_expert_rungs(
      registry,
      {.variant = "float.2_avx2",
       .improves = "float.1_plain",
       .note = "8 weights at a time, sums of rows and tokens held in registers; silu and the weighted sum of experts on tiles in L1",
       .preference = 2,
       .isa = Isa::avx2,
       .coded = true},
      [](const Problem& p, const Call& call) { run_experts(p, call, expert_code<BatchAvx2, EncodeAvx2>(avx2_float_rows, avx2_float_rows)); });
  add_expert_rungs(registry,
                   {.variant = "q8.2_avx2",
                    .improves = "q8.1_plain",
                    .note = "32 products of codes and 8-bit activations and their sums by pairs in one instruction",
                    .preference = 20,
                    .isa = Isa::avx2,
                    .weights = ExpertWeights::affine,
                    .coded = true},
                   [](const Problem& p, const Call& call) { run_experts(p, call, expert_code<BatchAvx2, EncodeAvx2>(avx2_rows, avx2_rows)); });
}

}  // namespace kerf::cpu
