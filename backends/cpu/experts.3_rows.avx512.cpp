// expert_matmul, expert_swiglu, expert_matmul_sum with AVX-512 and float activations: the rows of matmul's any.2_fma_avx512.
#include "backends/cpu/batch_avx512.h"
#include "backends/cpu/encode_avx512.h"
#include "backends/cpu/simd_experts.h"

namespace kerf::cpu {
void experts_3_rows_avx512(Registry::Adder);

void experts_3_rows_avx512(Registry::Adder registry) {
  add_expert_rungs(
      registry,
      {.variant = "float.3_avx512",
       .improves = "float.2_avx2",
       .note = "16 weights at a time, 24 sums held in registers",
       .preference = 3,
       .isa = Isa::avx512,
       .coded = true},
      [](const Problem& p, const Call& call) { run_experts(p, call, expert_code<BatchAvx512, EncodeAvx512>(avx512_float_rows, avx512_float_rows)); });
}

}  // namespace kerf::cpu
