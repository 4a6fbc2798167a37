// What all kernels of gated_delta_rule know of a problem. Row i of a head's state meets no other row: S k, the change and S q of
// value i need it alone. So threads share rows, and no result depends on how.
#pragma once
#include <cstdint>
#include <cstring>

#include "backends/cpu/simd_rung.h"

namespace kerf::cpu {

/// The longest key of the kernels that hold rows of a state in registers.
constexpr int64_t kMostKeys = 256;
Support accepts_delta_rows(const Problem& p);

/// Tokens from which on a chunk of 16, filled up with nothing, takes less time than rows (measured, 32 heads of 128, one thread:
/// 8 tokens 0.52 ms by rows, 0.53 ms as a chunk; 12 tokens 0.79 and 0.53).
constexpr int64_t kChunkedTokens = 9;
/// Tokens whose keys and queries the chunked kernel prepares before rows take them: few enough for the caches, so many that
/// threads meet seldom.
constexpr int64_t kDeltaSegment = 128;
/// What it keeps for a head and chunk.
constexpr int64_t kDeltaPairFloats = 2 * 16 * 16 + 3 * 16;
Support accepts_delta_chunks(const Problem& p);
size_t delta_chunk_scratch(const Problem& p);

#ifndef KERF_ISA
#define KERF_ISA base
#endif
inline namespace KERF_ISA {

struct DeltaRule {
  const TensorView &q, &k, &v, &g, &b, &out, &state;
  int64_t T, Hk, H, dv, dk;
  bool tiled, fresh;
  float scale;

  DeltaRule(const Problem& p, const Call& call)
      : q(call.in[0]), k(call.in[1]), v(call.in[2]), g(call.in[3]), b(call.in[4]), out(call.out[0]), state(call.out[1]) {
    const GatedDeltaRule& op = gated_delta_rule_of(p);
    T = q.desc.rows(), Hk = op.n_head_k, H = state.desc.shape[1], dv = state.desc.shape[2], dk = state.desc.shape[3];
    tiled = op.order == HeadOrder::tiled, fresh = call.in[6].as<const int32_t>()[0] == 0;
    scale = op.scale;
  }
  /// Column of q and k where the head of head h of v begins.
  int64_t key_column(int64_t h) const { return (tiled ? h % Hk : h / (H / Hk)) * dk; }
  /// Row i of head h's state, zeros if the batch begins at position 0.
  float* first_row(int64_t h, int64_t i, int64_t rows) const {
    float* s = state.row<float>(h * dv + i);
    if (fresh) std::memset(s, 0, static_cast<size_t>(rows * dk) * sizeof(float));
    return s;
  }
};

}  // namespace KERF_ISA
}  // namespace kerf::cpu
