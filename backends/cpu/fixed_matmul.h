// Matmul of 15-bit numbers with AMX tiles of int8: the frame that the weight formats share. Compiled without vector flags;
// files built for the instruction set see plain data and function pointers only (see simd_rung.h).
//
// y^T = W x^T: weights are the first operand, activations (quant/q15_t16.h) the second. 32 rows of weights, a panel, are
// rounded to the same 15 bits for up to kFixedChunk values. Group by group of 512 values, whose bytes then stay in L1, the
// panel is multiplied with a block of tokens that stays in L2: three byte products of a value each, int32 sums of a group,
// which are scaled and added to f32 sums in L2. Additions of one output happen in the order of k alone.
#pragma once
#include <cstddef>
#include <cstdint>

#include "core/kernel.h"

namespace kerf::cpu {

inline constexpr int64_t kFixedPanel = 32;    // rows of weights, two tiles
inline constexpr int64_t kFixedChunk = 1536;  // values of a row at a time: a panel of them is 96 KB
inline constexpr int64_t kFixedTokens = 256;  // at a time: 768 KB of a chunk, 32 KB of a panel's sums

struct FixedArgs {
  const std::byte* x = nullptr;                // [T,K] q15_t16
  const std::byte* w = nullptr;                // [N,K]
  float* y = nullptr;                          // [T,N]
  float* sums = nullptr;                       // [panel][pair of token tiles][4 tiles][16 rows][16 tokens]; only if K > kFixedChunk
  int64_t T = 0, N = 0, K = 0, row_bytes = 0;  // bytes per row of w
  bool stream = false;                         // y is too large for caches: written past them
};

/// The part of a problem that is worked on between two barriers.
struct FixedBlock {
  int64_t t0 = 0, t1 = 0, k0 = 0, k1 = 0;  // t0 and t1 are multiples of 16, t1 may pass T; k0 is a multiple of a group
};

/// Adds the block's products for panels [first, last).
using FixedPanelsFn = void (*)(const FixedArgs& a, const FixedBlock& block, int64_t first, int64_t last);
void run_fixed(const Call& call, FixedPanelsFn panels);

/// The rung "<type>.7_fixed_amx" for weights of `type`.
void add_fixed_rung(Registry::Adder registry, DType type, void (*run)(const Problem&, const Call&));

}  // namespace kerf::cpu
