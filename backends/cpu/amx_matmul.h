// Matmul with AMX tiles: the frame that all weight formats share. Compiled without vector flags; files built for the
// instruction set see plain data and function pointers only (see simd_rung.h).
//
// y^T = W x^T: weights are the first operand, activations (bf16_t16) the second. A panel, two tiles of sixteen rows of weights,
// is unpacked to bf16 for up to kAmxChunk values, then multiplied with a block of tokens that stays in the L2 cache. Sums stay
// in f32 tiles; where K is longer than a chunk they wait in scratch. Additions of one output happen in the order of k alone.
#pragma once
#include <cstddef>
#include <cstdint>

#include "core/kernel.h"

namespace kerf::cpu {

inline constexpr int64_t kAmxChunk = 1536;         // values of a row at a time: a panel of them is 96 KB
inline constexpr int64_t kAmxBlockBytes = 786432;  // of activations: what stays in 2 MB of L2 beside panels and weights
// Fewer tokens are faster with integer dot products. Measured against their best rungs, q4_k and q6_k, N 8960, K 1536: weights
// as a file has them from 9 on; interleaved ones draw level at 16 and 24.
inline constexpr int64_t kAmxTokens = 9, kAmxTokensFloat = 12, kAmxTokensInterleaved = 20;

struct AmxWeights;
/// Values [k, k + n) of the sixteen rows from `row`, n <= 256, as bf16 (amx_unpack.h); rows that the matrix lacks are zeros.
using AmxUnpackFn = void (*)(const AmxWeights& w, int64_t row, int64_t k, int64_t n, std::byte* out);

/// Asks for part `part` of `parts` of values [k0, k1) of the sixteen or thirty-two rows from `row`, to have them in L2 when they
/// are unpacked.
using AmxAskFn = void (*)(const AmxWeights& w, int64_t row, int64_t k0, int64_t k1, int64_t part, int64_t parts);

struct AmxWeights {
  const std::byte* data = nullptr;  // [N,K]
  int64_t N = 0, K = 0, row_bytes = 0;
  int64_t panel_rows = 0;  // of this matrix in a panel: 32, or 16 where two matrices share panels
  AmxUnpackFn unpack = nullptr;
  AmxAskFn ask = nullptr;
};

/// y = x w^T + addend, a panel being 32 rows of w; or with `swiglu` y = silu(x w^T) * x up^T, a panel being 16 rows of each.
struct AmxProduct {
  const std::byte* x = nullptr;  // [T,K] bf16_t16
  AmxWeights w{}, up{};
  bool swiglu = false;
  std::byte* y = nullptr;         // [T,N] f32, or bf16_t16
  bool tiles = false;             // y is bf16_t16 (swiglu only)
  bool stream = false;            // y is too large for caches: written past them
  const float* addend = nullptr;  // or null
  int64_t addend_step = 0;        // 0: one row for all tokens
  std::byte* partial = nullptr;   // sums of the chunks so far, [panel][pair of token tiles][4 tiles]; only if K > kAmxChunk
  int64_t T = 0, N = 0, K = 0;
};

/// The part of a problem that is worked on between two barriers.
struct AmxBlock {
  int64_t t0 = 0, t1 = 0, k0 = 0, k1 = 0;  // t0 and t1 are multiples of 16, t1 may pass T
};

/// What a file built for AMX provides.
struct AmxCode {
  void (*set_unpacker)(AmxWeights& w, DType type) = nullptr;
  void (*panels)(const AmxProduct& p, const AmxBlock& block, int64_t first, int64_t last) = nullptr;
};

/// That of bf16 tiles, for weights of every type with a decoder and their interleaved forms.
AmxCode amx_bf16_code();
/// Whether amx_bf16_code() has an unpacker for weights of this type.
bool amx_unpacks(DType type);

/// Values of a row that are multiplied between two barriers, equal parts of K.
int64_t amx_chunk(int64_t K, int64_t T);

/// Runs matmul, matmuls or matmul_swiglu.
void run_amx(const Problem& p, const Call& call, const AmxCode& code);

/// The rung "<type>.6_amx" of matmul for weights of `type`.
void add_amx_rung(Registry::Adder registry, DType type, void (*run)(const Problem&, const Call&));
/// The rungs "6_amx" of matmuls and matmul_swiglu.
void add_amx_fused_rungs(Registry::Adder registry, void (*run)(const Problem&, const Call&));

}  // namespace kerf::cpu
