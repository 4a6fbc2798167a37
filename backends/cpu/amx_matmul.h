// Matmul with AMX tiles: the frame that all weight formats share. Compiled without vector flags; files built for the
// instruction set see plain data and function pointers only (see simd_rung.h).
//
// y^T = W x^T: weights are the first operand, activations (bf16_t16) the second. 32 rows of weights, a panel, are unpacked
// to bf16 for up to kChunk values, then multiplied with a block of tokens that stays in the L2 cache. Sums stay in f32
// tiles; where K is longer than a chunk they wait in scratch. Additions of one output happen in the order of k alone.
#pragma once
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "core/kernel.h"

namespace kerf::cpu {

inline constexpr int64_t kAmxPanel = 32;           // rows of weights, two tiles
inline constexpr int64_t kAmxChunk = 1536;         // values of a row at a time: a panel of them is 96 KB
inline constexpr int64_t kAmxBlockBytes = 786432;  // of activations: what stays in 2 MB of L2 beside panels and weights
inline constexpr int64_t kAmxTokens = 9;           // fewer are faster with integer dot products

struct AmxArgs {
  const std::byte* x;          // [T,K] bf16_t16
  const std::byte* w;          // [N,K]
  float* y;                    // [T,N]
  std::byte* partial;          // sums of the chunks so far, [panel][pair of token tiles][4 tiles]; only if K > kAmxChunk
  int64_t T, N, K, row_bytes;  // bytes per row of w
  bool stream;                 // y is too large for caches: written past them
};

/// The part of a problem that is worked on between two barriers.
struct AmxBlock {
  int64_t t0, t1, k0, k1;  // t0 and t1 are multiples of 16, t1 may pass T
};

/// Adds the block's products for panels [first, last).
using AmxPanelsFn = void (*)(const AmxArgs& a, const AmxBlock& block, int64_t first, int64_t last);
void run_amx(const Call& call, AmxPanelsFn panels);

/// A rung "<type>.6_amx" for weights of `type`.
void add_amx_rung(Registry::Adder registry, DType type, void (*run)(const Problem&, const Call&));

}  // namespace kerf::cpu
