#include "backends/cpu/attention_tiled.h"

#include "quant/encode.h"

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

Support cache_accepts(const Problem& p) {
  for (const size_t i : {1, 2}) {
    const TensorDesc& state = p.in[i];
    if (auto a = require(quant::is_cache_type(state.dtype), "keys or values are not f32, f16, bf16, q8_0, q5_1, q5_0, q4_1 or q4_0"); !a) return a;
    if (auto a = require(state.cols() % info(state.dtype).block_values == 0, "the head is not a whole number of the cache format's blocks of 32"); !a)
      return a;
  }
  return {};
}

Support attention_accepts(const Problem& p) {
  const AttentionShape s = attention_shape(p);
  const DType k = p.in[1].dtype, v = p.in[2].dtype;
  if (auto a = cache_accepts(p); !a) return a;
  const bool in_place = k == v && (k == DType::f32 || k == DType::f16);
  if (auto a = require(s.hd <= (in_place ? attention::kMaxHeadDim : attention::kMaxCodedHeadDim), "the head is wider than its workspace"); !a)
    return a;
  return require(s.group <= attention::kTileRows, "more query heads share one key/value head than a tile has rows");
}

Support attention_tiles_accepts(const Problem& p) {
  const AttentionShape s = attention_shape(p);
  if (auto a = cache_accepts(p); !a) return a;
  if (auto a = require(s.hd % 32 == 0 && s.hd <= 256, "the head is not 32, 64 .. 256 wide"); !a) return a;
  if (auto a = require(s.group <= attention::kTileRows, "more query heads share one key/value head than a tile has rows"); !a) return a;
  return require(s.T * s.group >= kTilesRows, "too few query rows share a key/value head to fill tiles");
}

Support attention_planes_accepts(const Problem& p) {
  for (const size_t i : {size_t{1}, size_t{2}})
    if (auto a = require(p.in[i].dtype == DType::f16 || p.in[i].dtype == DType::f32, "the cache holds no more than bf16 keeps"); !a) return a;
  return attention_tiles_accepts(p);
}

Support attention_split_accepts(const Problem& p) {
  const AttentionShape s = attention_shape(p);
  if (auto a = cache_accepts(p); !a) return a;
  if (auto a = require(s.hd % 32 == 0 && s.hd <= 256, "the head is not 32, 64 .. 256 wide"); !a) return a;
  return require(s.T * s.group <= kSplitRows, "more query rows share a key/value head than are worth reading it one by one");
}

size_t attention_split_scratch(const Problem& p) {
  const AttentionShape s = attention_shape(p);
  const int64_t parts = (s.n_ctx + kSplitKeys - 1) / kSplitKeys;
  return static_cast<size_t>(parts * s.T * s.H) * (static_cast<size_t>(s.hd) * sizeof(float) + sizeof(attention::State<float>));
}

size_t attention_scratch(const Problem& p) {
  const AttentionShape s = attention_shape(p);
  if (s.T > kSplitTokens) return 0;
  const int64_t chunks = (s.n_ctx + attention::kChunk - 1) / attention::kChunk;
  return static_cast<size_t>(chunks * s.T * s.H) * (static_cast<size_t>(s.hd) * sizeof(float) + sizeof(attention::State<float>));
}

}  // namespace kerf::cpu
