#include "backends/cpu/attention_tiled.h"

namespace kerf::cpu {

AttentionShape attention_shape(const Problem& p) {
  const auto& op = std::get<Attention>(p.op);
  const auto& k = p.in[1].shape;
  return {.T = p.in[0].rows(),
          .H = op.n_head,
          .n_kv = k[1],
          .n_ctx = k[2],
          .hd = k[3],
          .group = op.n_head / k[1],
          .scale = op.scale,
          .window = op.window};
}

Support attention_accepts(const Problem& p) {
  const AttentionShape s = attention_shape(p);
  const DType k = p.in[1].dtype;
  if (auto a = require(k == p.in[2].dtype && (k == DType::f32 || k == DType::f16), "keys and values are not both f32 or both f16"); !a) return a;
  if (auto a = require(s.hd <= attention::kMaxHeadDim, "the head is wider than its workspace"); !a) return a;
  return require(s.group <= attention::kTileRows, "more query heads share one key/value head than a tile has rows");
}

size_t attention_scratch(const Problem& p) {
  const AttentionShape s = attention_shape(p);
  if (s.T > kSplitTokens) return 0;
  const int64_t chunks = (s.n_ctx + attention::kChunk - 1) / attention::kChunk;
  return static_cast<size_t>(chunks * s.T * s.H) * (static_cast<size_t>(s.hd) * sizeof(float) + sizeof(attention::State<float>));
}

}  // namespace kerf::cpu
