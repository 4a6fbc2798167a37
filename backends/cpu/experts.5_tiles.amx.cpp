// expert_matmul, expert_swiglu, expert_matmul_sum with AMX: the panels of matmul's <type>.6_amx, per expert (amx_experts.h).
#include "backends/cpu/amx_experts.h"
#include "backends/cpu/batch_avx512.h"
#include "backends/cpu/simd_experts.h"

namespace kerf::cpu {
void experts_5_tiles_amx(Registry::Adder);

void experts_5_tiles_amx(Registry::Adder registry) {
  add_amx_expert_rungs(registry, [](const Problem& p, const Call& call) { run_amx_experts(p, call, amx_bf16_code(), add_scaled<BatchAvx512>); });
}

}  // namespace kerf::cpu
