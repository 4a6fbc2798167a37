// Products with the weights of experts: expert_matmul, expert_swiglu, expert_matmul_sum. Slots are sorted by expert (a counting
// sort), so that an expert's weights are read once for all tokens that are routed to it, and only weights of such experts are
// read at all. The products themselves are the rows of the matmul rungs (matmul.h), which read a token's activations by
// its row number: nothing is gathered. Compiled without vector flags; files built for an instruction set see plain data and
// function pointers only (simd_rung.h).
#pragma once
#include "backends/cpu/matmul.h"

namespace kerf::cpu {

/// What a file built for an instruction set provides.
struct ExpertCode {
  RowsFn (*few)(DType weights) = nullptr;   // for up to kPanelTokens - 1 tokens of an expert
  RowsFn (*many)(DType weights) = nullptr;  // for more
  void (*silu_times)(const float* gate, const float* up, float* out, int64_t n) = nullptr;
  void (*add_scaled)(const float* x, float scale, float* y, int64_t n) = nullptr;  // y += scale x
  /// n values, a multiple of 16, to the three planes of a q8_g16 row; null: outputs are f32 only.
  void (*code)(const float* x, int64_t n, int8_t* q, float* d, float* sum) = nullptr;
};
/// Runs any of the three ops.
void run_experts(const Problem& p, const Call& call, const ExpertCode& code);

/// Which weights a rung multiplies: of any type with a decoder, with f32 activations; of the affine types or their interleaved
/// forms, with q8_g16.
enum class ExpertWeights : uint8_t { any, affine, interleaved };

/// A rung of all three ops.
struct ExpertRung {
  std::string_view variant{}, improves{}, note{};
  int preference = 0;
  Isa isa = Isa::base;
  ExpertWeights weights = ExpertWeights::any;
  bool coded = false;  // expert_swiglu also writes q8_g16
};
void add_expert_rungs(Registry::Adder registry, const ExpertRung& rung, void (*run)(const Problem&, const Call&));

}  // namespace kerf::cpu
