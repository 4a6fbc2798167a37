#include "backends/cpu/amx_experts.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <string>
#include <variant>

#include "backends/cpu/expert_routing.h"
#include "core/threadpool.h"
#include "quant/bf16_t16.h"

namespace kerf::cpu {
namespace {

constexpr int64_t kTile = 16, kTileBytes = 1024;
constexpr int64_t kPanelsOfTask = 8;
constexpr int64_t kTokens = 128;  // of an expert at a time: their sums of a task's panels stay in L2

int64_t round_up(int64_t n, int64_t multiple) { return (n + multiple - 1) / multiple * multiple; }

/// The activations of all slots in tiles of one expert each, and where the tiles of each expert begin.
class SortedTiles {
 public:
  /// Rows of tiles that slots may need, the last tile of an expert being part empty.
  static int64_t tile_rows(int64_t experts, int64_t slots) { return (slots + std::min(experts, slots) * (kTile - 1)) / kTile; }
  static int64_t bytes(int64_t experts, int64_t slots, int64_t K) {
    return round_up((experts + 1) * static_cast<int64_t>(sizeof(int32_t)), 64) + tile_rows(experts, slots) * (K / 32) * kTileBytes;
  }

  SortedTiles(const TensorView& x, const ExpertRouting& routing, int64_t experts, std::span<std::byte> memory, ThreadPool& pool)
      : begin_(reinterpret_cast<int32_t*>(memory.data())),
        tiles_(memory.data() + round_up((experts + 1) * static_cast<int64_t>(sizeof(int32_t)), 64)),
        row_bytes_(x.desc.cols() / 32 * kTileBytes) {
    begin_[0] = 0;
    for (int64_t i = 0; i < routing.groups(); ++i) begin_[i + 1] = begin_[i] + static_cast<int32_t>((routing.group(i).count + kTile - 1) / kTile);
    pool.parallel_for(begin_[routing.groups()], [&](int64_t r) {
      const int64_t i = std::upper_bound(begin_, begin_ + routing.groups() + 1, static_cast<int32_t>(r)) - begin_ - 1;
      const ExpertGroup g = routing.group(i);
      const int64_t first = (r - begin_[i]) * kTile;
      gather(x, g.x_rows + first, std::min(kTile, g.count - first), tiles_ + r * row_bytes_);
    });
  }
  /// Tokens from `first`, a multiple of 16, of group i.
  const std::byte* of(int64_t i, int64_t first) const { return tiles_ + (begin_[i] + first / kTile) * row_bytes_; }

 private:
  /// A row of tiles from rows of others. A tile has the pairs of a token 64 bytes apart (quant/bf16_t16.h).
  static void gather(const TensorView& x, const int32_t* rows, int64_t n, std::byte* to) {
    const int64_t tiles = x.desc.cols() / 32;
    std::array<const std::byte*, kTile> from;
    for (int64_t t = 0; t < n; ++t)
      from[static_cast<size_t>(t)] = x.as<const std::byte>() + rows[t] / kTile * tiles * kTileBytes + rows[t] % kTile * 4;
    for (int64_t pair = 0; pair < tiles * kTile; ++pair, to += 64) {
      for (int64_t t = 0; t < n; ++t) std::memcpy(to + 4 * t, from[static_cast<size_t>(t)] + 64 * pair, 4);
      std::memset(to + 4 * n, 0, static_cast<size_t>(64 - 4 * n));
    }
  }

  int32_t* begin_;
  std::byte* tiles_;
  int64_t row_bytes_;
};

/// Rows [n0, n1) of expert e, panels of `panel_rows` of them.
AmxWeights rows_of(const TensorView& w, int64_t e, int64_t n0, int64_t n1, int64_t panel_rows, const AmxCode& code) {
  AmxWeights result{.data = w.as<const std::byte>() + (e * w.desc.shape[2] + n0) * w.desc.row_bytes(),
                    .N = n1 - n0,
                    .K = w.desc.cols(),
                    .row_bytes = w.desc.row_bytes(),
                    .panel_rows = panel_rows};
  code.set_unpacker(result, w.desc.dtype);
  return result;
}

/// One product of at most kTokens tokens, all of its panels, chunk after chunk of k.
void multiply(AmxProduct& p, int64_t panels, const AmxCode& code) {
  alignas(64) std::array<std::byte, kPanelsOfTask*(kTokens / 32) * 4 * kTileBytes> partial;
  p.partial = partial.data();
  const int64_t chunk = amx_chunk(p.K, p.T);
  for (int64_t k = 0; k < p.K; k += chunk) code.panels(p, {0, round_up(p.T, kTile), k, std::min(k + chunk, p.K)}, 0, panels);
}

size_t scratch_bytes(const Problem& p) {
  const int64_t experts = p.in[1].shape[1], slots = p.in[expert_inputs(p.op)->ids].size();
  return static_cast<size_t>(round_up(ExpertRouting::bytes(experts, slots), 64) + SortedTiles::bytes(experts, slots, p.in[0].cols()));
}

/// expert_matmul and expert_swiglu: a task is a range of panels of one expert; rows of the output go to their slots.
void run_slots(const Call& call, const ExpertRouting& routing, const SortedTiles& x, bool swiglu, const AmxCode& code) {
  const TensorView& out = call.out[0];
  const int64_t N = out.desc.cols(), panel_rows = swiglu ? kTile : 2 * kTile, step = kPanelsOfTask * panel_rows, ranges = (N + step - 1) / step;
  call.pool.parallel_for(routing.groups() * ranges, [&](int64_t task) {
    const int64_t i = task / ranges, n0 = task % ranges * step, n1 = std::min(N, n0 + step), n = n1 - n0;
    const ExpertGroup g = routing.group(i);
    for (int64_t t = 0; t < g.count; t += kTokens) {
      // Rows of the output are N wide, of which this product has n: they go by way of a tile of sums in L2.
      alignas(64) std::array<float, kTokens * kPanelsOfTask * 2 * kTile> tile;
      AmxProduct p{.x = x.of(i, t),
                   .w = rows_of(call.in[1], g.expert, n0, n1, panel_rows, code),
                   .swiglu = swiglu,
                   .y = reinterpret_cast<std::byte*>(tile.data()),
                   .T = std::min(kTokens, g.count - t),
                   .N = n,
                   .K = call.in[1].desc.cols()};
      if (swiglu) p.up = rows_of(call.in[2], g.expert, n0, n1, panel_rows, code);
      multiply(p, (n + panel_rows - 1) / panel_rows, code);
      for (int64_t j = 0; j < p.T; ++j)
        std::memcpy(out.row<float>(g.slots[t + j]) + n0, &tile[static_cast<size_t>(j * n)], static_cast<size_t>(n) * sizeof(float));
    }
  });
}

/// expert_matmul_sum: a task owns a range of output columns and adds to them what each expert has for its tokens.
void run_sum(const Call& call, const ExpertRouting& routing, const SortedTiles& x, const AmxCode& code, AddScaledFn add_scaled) {
  const TensorView &w = call.in[1], &out = call.out[0];
  const auto* weights = call.in[3].as<const float>();
  const int64_t N = out.desc.cols(), per_token = call.in[2].desc.cols();
  const int64_t panels = std::clamp<int64_t>((N + 2 * kTile - 1) / (2 * kTile) / (4 * call.pool.size()), 1, kPanelsOfTask), step = panels * 2 * kTile;
  call.pool.parallel_for((N + step - 1) / step, [&](int64_t task) {
    const int64_t n0 = task * step, n1 = std::min(N, n0 + step), n = n1 - n0;
    for (int64_t t = 0; t < out.desc.rows(); ++t) std::fill_n(out.row<float>(t) + n0, n, 0.f);
    for (int64_t i = 0; i < routing.groups(); ++i) {
      const ExpertGroup g = routing.group(i);
      for (int64_t t = 0; t < g.count; t += kTokens) {
        alignas(64) std::array<float, kTokens * kPanelsOfTask * 2 * kTile> tile;
        AmxProduct p{.x = x.of(i, t),
                     .w = rows_of(w, g.expert, n0, n1, 2 * kTile, code),
                     .y = reinterpret_cast<std::byte*>(tile.data()),
                     .T = std::min(kTokens, g.count - t),
                     .N = n,
                     .K = w.desc.cols()};
        multiply(p, (n + 2 * kTile - 1) / (2 * kTile), code);
        for (int64_t j = 0; j < p.T; ++j) {
          const int32_t slot = g.slots[t + j];
          add_scaled(&tile[static_cast<size_t>(j * n)], weights[slot], out.row<float>(slot / per_token) + n0, n);
        }
      }
    }
  });
}

Support accepts(const Problem& p) {
  const ExpertInputs e = *expert_inputs(p.op);
  if (auto s = require(p.in[0].dtype == DType::bf16_t16, "the activations are not bf16_t16"); !s) return s;
  if (auto s = require(p.in[e.ids].size() >= kAmxSlots * p.in[1].shape[1], "fewer than 12 tokens per expert: dot products are faster"); !s) return s;
  for (size_t i = e.first; i < e.first + e.count; ++i) {
    if (auto s = require(amx_unpacks(p.in[i].dtype), "the weights' type has no unpacker"); !s) return s;
    if (auto s = require(p.in[i].shape[2] % info(p.in[i].dtype).tile_rows == 0, "an expert's rows are no whole number of tiles"); !s) return s;
  }
  return require(p.out[0].dtype == DType::f32, "the output is not f32");
}

}  // namespace

void run_amx_experts(const Problem& p, const Call& call, const AmxCode& code, AddScaledFn add_scaled) {
  const int64_t experts = p.in[1].shape[1];
  const TensorView &x = call.in[0], &ids = call.in[expert_inputs(p.op)->ids];
  const ExpertRouting routing(ids, experts, x.desc.rows() == ids.desc.size(), call.scratch);
  const SortedTiles tiles(x, routing, experts,
                          call.scratch.subspan(static_cast<size_t>(round_up(ExpertRouting::bytes(experts, ids.desc.size()), 64))), call.pool);
  if (std::holds_alternative<ExpertMatMulSum>(p.op)) return run_sum(call, routing, tiles, code, add_scaled);
  run_slots(call, routing, tiles, std::holds_alternative<ExpertSwiGlu>(p.op), code);
}

void add_amx_expert_rungs(Registry::Adder registry, void (*run)(const Problem&, const Call&)) {
  for (const std::string_view op : {ExpertMatMul::name, ExpertSwiGlu::name, ExpertMatMulSum::name})
    registry.add({.op = op,
                  .variant = "bf16.5_amx",
                  .improves = "q8.4_vnni",
                  .note = "activations sorted by expert into tiles; panels of all experts in one loop, unpacked to bf16 once for an expert's tokens",
                  .preference = 60,
                  .isa = Isa::amx,
                  .unit = 0x1p-8,
                  .accepts = accepts,
                  .scratch_bytes = scratch_bytes,
                  .run = run});
}

}  // namespace kerf::cpu
