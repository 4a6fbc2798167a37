#include "backends/cpu/delta_rule.h"

namespace kerf::cpu {

Support accepts_delta_rows(const Problem& p) { return require(p.in[5].cols() <= kMostKeys, "keys are longer than 256"); }

Support accepts_delta_chunks(const Problem& p) {
  if (auto a = require(p.in[0].rows() >= kChunkedTokens, "tokens are too few for a chunk"); !a) return a;
  return require(p.in[5].cols() % 16 == 0 && p.in[5].shape[2] % 16 == 0, "keys or values of a head are not a multiple of 16");
}

size_t delta_chunk_scratch(const Problem& p) {
  const int64_t Hk_dk = p.in[0].cols(), H = p.in[5].shape[1];
  return static_cast<size_t>(kDeltaSegment * 3 * Hk_dk + kDeltaSegment / 16 * H * kDeltaPairFloats) * sizeof(float);
}

}  // namespace kerf::cpu
