// How the tiled attention rungs cut an op into tasks; the arithmetic is attention/flash.h. Two shapes of work:
//   many tokens  task = (kv head, tile of tokens), chunks of keys in order, sums directly in the output
//   few tokens   task = (kv head, chunk of keys), sums in scratch, merged in the order of the chunks afterwards
// Both apply the same merges to the same chunks, so they give the same bits and the choice is one of speed only.
#pragma once
#include "attention/flash.h"
#include "core/kernel.h"
#include "core/threadpool.h"
#include "quant/formats.h"

namespace kerf::cpu {

constexpr int64_t kTilesRows = 8;    // query rows of a key/value head from which tiles of 32 are faster than rows one by one
constexpr int64_t kSplitRows = 8;    // query rows of a key/value head up to which rows one by one are memory-bound
constexpr int64_t kSplitKeys = 512;  // keys of a task of rung 5: two chunks, so that merging costs 1 % and not 3
constexpr int64_t kSplitTokens = 4;  // up to here the chunks are spread over tasks: scratch grows with tokens x context

struct AttentionShape {
  int64_t T = 0, H = 0, n_kv = 0, n_ctx = 0, hd = 0, group = 0;
  float scale = 1;
  int window = 0;
};

// In attention_tiled.cpp, without vector flags: code with std::string and std::variant in it must exist only once.
AttentionShape attention_shape(const Problem& p);
/// Keys and values of any cache types (quant/encode.h) whose blocks fit the head.
Support cache_accepts(const Problem& p);
Support attention_accepts(const Problem& p);
/// Enough query rows of a key/value head to fill tiles, and a head of 32, 64 .. 256.
Support attention_tiles_accepts(const Problem& p);
Support attention_planes_accepts(const Problem& p);
/// Few query rows, and such a head.
Support attention_split_accepts(const Problem& p);
size_t attention_split_scratch(const Problem& p);
size_t attention_scratch(const Problem& p);

inline namespace KERF_ISA {

using CacheFormats = quant::FormatList<quant::F32, quant::F16, quant::BF16, quant::Q8_0, quant::Q5_1, quant::Q5_0, quant::Q4_1, quant::Q4_0>;

/// The rows of head `kv` of a cache tensor, as flash.h reads them.
template <class Side>
Side side_of(const TensorView& state, int64_t kv) {
  const int64_t first = kv * state.desc.shape[2];
  if constexpr (std::same_as<Side, attention::Coded>) {
    attention::Coded coded{state.row<const std::byte>(first), state.desc.row_bytes(), nullptr};
    CacheFormats::visit(state.desc.dtype, [&]<class F>(F) { coded.decode = quant::decode_row<F>; });
    return coded;
  } else {
    return state.row<std::remove_pointer_t<Side>>(first);
  }
}

template <class K, class V>
struct AttentionRun {
  using Workspace = attention::WorkspaceFor<K, V>;
  const AttentionShape s;
  const Call& call;
  const int32_t* positions = call.in[3].as<const int32_t>();
  const int64_t tokens_per_tile = attention::kTileRows / s.group;

  attention::Cache<K, V> cache(int64_t kv) const { return {side_of<K>(call.in[1], kv), side_of<V>(call.in[2], kv), s.hd}; }

  /// Rows of the tile: token by token, within a token the heads of one group. index[r] is the row's t * H + h.
  attention::Tile tile(int64_t kv, int64_t first, int64_t tokens, std::array<int64_t, attention::kTileRows>& index) const {
    attention::Tile tile;
    tile.scale = s.scale;
    for (int64_t t = first; t < first + tokens; ++t)
      for (int64_t g = 0; g < s.group; ++g) {
        const auto r = static_cast<size_t>(tile.rows++);
        index[r] = t * s.H + kv * s.group + g;
        tile.q[r] = call.in[0].as<const float>() + index[r] * s.hd;
        tile.keys[r] = attention::visible_keys(positions[t], s.window);
      }
    return tile;
  }

  template <class L>
  void tokens_in_tiles() const {
    const int64_t tiles = (s.T + tokens_per_tile - 1) / tokens_per_tile;
    call.pool.parallel_for(s.n_kv * tiles, [&](int64_t i) {
      const int64_t kv = i % s.n_kv, first = (tiles - 1 - i / s.n_kv) * tokens_per_tile;  // last tokens first: they see most keys
      Workspace work;
      std::array<int64_t, attention::kTileRows> index;
      std::array<float*, attention::kTileRows> out{};
      std::array<attention::State<float>, attention::kTileRows> state{};
      const auto rows = tile(kv, first, std::min(tokens_per_tile, s.T - first), index);
      for (int r = 0; r < rows.rows; ++r) out[r] = call.out[0].as<float>() + index[r] * s.hd;
      const auto seen = rows.seen(0, rows.rows, {0, s.n_ctx});
      for (int64_t c = seen.begin / attention::kChunk * attention::kChunk; c < seen.end; c += attention::kChunk)
        attention::attend_chunk<L>(rows, cache(kv), {c, std::min(c + attention::kChunk, s.n_ctx)}, out.data(), state.data(), work);
      for (int r = 0; r < rows.rows; ++r)
        for (int64_t d = 0; d < s.hd; ++d) out[r][d] /= state[r].sum;
    });
  }

  template <class L>
  void chunks_in_tasks() const {
    int32_t last = 0;
    for (int64_t t = 0; t < s.T; ++t) last = std::max(last, positions[t]);
    const int64_t rows = s.T * s.H, chunks = last / attention::kChunk + 1;
    auto* sums = reinterpret_cast<float*>(call.scratch.data());  // [chunk][t * H + h][hd], then the states
    auto* states = reinterpret_cast<attention::State<float>*>(sums + chunks * rows * s.hd);
    const int64_t step = std::min(tokens_per_tile, s.T), tiles = (s.T + step - 1) / step;
    call.pool.parallel_for(s.n_kv * tiles * chunks, [&](int64_t i) {
      const int64_t kv = i % s.n_kv, first = i / s.n_kv % tiles * step, c = i / s.n_kv / tiles;
      Workspace work;
      std::array<int64_t, attention::kTileRows> index;
      std::array<float*, attention::kTileRows> out{};
      std::array<attention::State<float>, attention::kTileRows> state{};
      const auto tile_rows = tile(kv, first, std::min(step, s.T - first), index);
      for (int r = 0; r < tile_rows.rows; ++r) out[r] = sums + (c * rows + index[r]) * s.hd;
      attention::attend_chunk<L>(tile_rows, cache(kv), {c * attention::kChunk, std::min((c + 1) * attention::kChunk, s.n_ctx)}, out.data(),
                                 state.data(), work);
      for (int r = 0; r < tile_rows.rows; ++r) states[c * rows + index[r]] = state[r];
    });
    call.pool.parallel_for(rows, [&](int64_t row) {
      attention::State<float> state;
      float* out = call.out[0].as<float>() + row * s.hd;
      for (int64_t c = 0; c < chunks; ++c) {
        const auto& other = states[c * rows + row];
        if (other.empty()) continue;  // saw nothing here: its sums were never written
        const auto merged = attention::merge(state, other);
        const float* fresh = sums + (c * rows + row) * s.hd;
        for (int64_t d = 0; d < s.hd; ++d) out[d] = state.empty() ? fresh[d] * merged.b : std::fma(out[d], merged.a, fresh[d] * merged.b);
        state = merged.state;
      }
      for (int64_t d = 0; d < s.hd; ++d) out[d] /= state.sum;
    });
  }
};

template <class L>
void run_tiled_attention(const Problem& p, const Call& call) {
  const auto go = [&]<class K, class V>(AttentionRun<K, V> run) {
    if (run.s.T <= kSplitTokens)
      run.template chunks_in_tasks<L>();
    else
      run.template tokens_in_tiles<L>();
  };
  using attention::Coded;
  const AttentionShape s = attention_shape(p);
  const DType k = p.in[1].dtype, v = p.in[2].dtype;
  if (k == DType::f32 && v == DType::f32)
    go(AttentionRun<const float*, const float*>{s, call});
  else if (k == DType::f16 && v == DType::f16)
    go(AttentionRun<const uint16_t*, const uint16_t*>{s, call});
  else
    go(AttentionRun<Coded, Coded>{s, call});
}

}  // namespace KERF_ISA
}  // namespace kerf::cpu
