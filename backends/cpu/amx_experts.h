// Experts with AMX tiles: expert_matmul, expert_swiglu, expert_matmul_sum for batches that give an expert a dozen tokens or more
// (amx_matmul.h has the products). Compiled without vector flags, as amx_matmul.h.
//
// The activations of the slots, sorted by expert, are copied to tiles that belong to one expert each; then the panels of all
// experts are shared out in one loop. An expert with fewer tokens than a tile has rows pays for the whole tile.
#pragma once
#include "backends/cpu/amx_matmul.h"

namespace kerf::cpu {

/// Slots per expert from which on tiles should be ahead of dot products. An estimate: a core that unpacks a weight in 0.06 ns and
/// multiplies it with a tile of 16 tokens in 0.011 ns draws level with one that takes 0.0087 ns for a token's dot product at 8.
/// The rest is for experts that get fewer than others. Interleaved weights are asked for where decoding counts; the same limit holds.
inline constexpr int64_t kAmxSlots = 12;

/// y += scale x, n values.
using AddScaledFn = void (*)(const float* x, float scale, float* y, int64_t n);
void run_amx_experts(const Problem& p, const Call& call, const AmxCode& code, AddScaledFn add_scaled);

/// The rung "bf16.5_amx" of all three ops.
void add_amx_expert_rungs(Registry::Adder registry, void (*run)(const Problem&, const Call&));

}  // namespace kerf::cpu
