// expert_matmul, expert_swiglu, expert_matmul_sum, first rungs: the rows of matmul's any.0_decode and <type>.1_generic.
#include <cmath>

#include "backends/cpu/experts.h"

namespace kerf::cpu {
void experts_1_plain(Registry::Adder);
namespace {

void silu_times(const float* gate, const float* up, float* out, int64_t n) {
  for (int64_t i = 0; i < n; ++i) out[i] = gate[i] / (1 + std::exp(-gate[i])) * up[i];
}
void add_scaled(const float* x, float scale, float* y, int64_t n) {
  for (int64_t i = 0; i < n; ++i) y[i] += scale * x[i];
}

}  // namespace

void experts_1_plain(Registry::Adder registry) {
  add_expert_rungs(registry,
                   {.variant = "float.1_plain",
                    .note = "slots sorted by expert, so that a weight is decoded once for all tokens of its expert; value by value",
                    .preference = 1},
                   [](const Problem& p, const Call& call) {
                     run_experts(p, call, {generic_float_rows, generic_float_rows, silu_times, add_scaled});
                   });
  add_expert_rungs(registry,
                   {.variant = "q8.1_plain",
                    .improves = "float.1_plain",
                    .note = "integer products of codes and 8-bit activations: one scaling per 16 weights",
                    .preference = 10,
                    .weights = ExpertWeights::affine},
                   [](const Problem& p, const Call& call) {
                     run_experts(p, call, {generic_rows, generic_rows, silu_times, add_scaled});
                   });
}

}  // namespace kerf::cpu
