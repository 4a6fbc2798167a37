#include "backends/cpu/experts.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <variant>

#include "backends/cpu/expert_routing.h"
#include "core/threadpool.h"
#include "quant/formats.h"

namespace kerf::cpu {

ExpertRouting::ExpertRouting(const TensorView& ids, int64_t experts, bool x_by_slot, std::span<std::byte> scratch)
    : begin_(reinterpret_cast<int32_t*>(scratch.data())), used_(begin_ + experts + 1), slots_(used_ + experts), rows_(slots_ + ids.desc.size()) {
  const auto* expert = ids.as<const int32_t>();
  const int64_t n = ids.desc.size(), per_token = ids.desc.cols();
  std::fill_n(begin_, experts + 1, 0);
  for (int64_t s = 0; s < n; ++s) ++begin_[expert[s]];
  int32_t sum = 0;
  for (int64_t e = 0; e < experts; ++e) {
    if (begin_[e] > 0) used_[groups_++] = static_cast<int32_t>(e);
    sum += begin_[e];
    begin_[e] = sum;  // the end of its slots, which the next loop counts down to their beginning
  }
  begin_[experts] = sum;
  for (int64_t s = n; s-- > 0;) {
    const int32_t at = --begin_[expert[s]];
    slots_[at] = static_cast<int32_t>(s);
    rows_[at] = static_cast<int32_t>(x_by_slot ? s : s / per_token);
  }
}

namespace {

// A tile of sums is computed in an L1 cache before it goes where it belongs: 32 rows by 128 tokens, more rows by fewer tokens.
constexpr int64_t kTileSums = 4096, kTileTokens = 128, kMostRows = 64, kPanelRows = 32;

/// The weights of all experts, and the rows that multiply with them.
struct Weights {
  const std::byte* data;
  int64_t N, K, row_bytes;
  RowsFn few, many;

  Weights(const TensorView& w, const ExpertCode& code)
      : data(w.as<const std::byte>()),
        N(w.desc.shape[2]),
        K(w.desc.cols()),
        row_bytes(w.desc.row_bytes()),
        few(code.few(w.desc.dtype)),
        many(code.many(w.desc.dtype)) {}

  /// tile [t1 - t0, n1 - n0] = x w^T for tokens [t0, t1) of the group, rows [n0, n1) of its expert.
  void multiply(const TensorView& x, const ExpertGroup& g, int64_t t0, int64_t t1, int64_t n0, int64_t n1, float* tile) const {
    const MatMulArgs a{.x = x.as<const std::byte>(),
                       .w = data + (g.expert * N + n0) * row_bytes,
                       .y = tile,
                       .T = t1 - t0,
                       .N = n1 - n0,
                       .K = K,
                       .x_bytes = x.desc.row_bytes(),
                       .w_bytes = row_bytes,
                       .x_rows = g.x_rows + t0};
    (a.T < kPanelTokens ? few : many)(a, 0, a.N);
  }
};

/// Rows of a task, a multiple of 16: of `experts` matrices together about kTaskBytes for few tokens, panels for many.
int64_t rows_of_task(const Weights& w, int64_t experts, int64_t tokens_each, int64_t shares) {
  if (tokens_each >= kPanelTokens) return kPanelRows;
  const int64_t by_size = kTaskBytes / std::max<int64_t>(1, experts * w.row_bytes), by_share = w.N / std::max<int64_t>(1, shares);
  return (std::clamp<int64_t>(std::min(by_size, by_share), 16, kMostRows) + 15) / 16 * 16;
}

/// f(group, n0, n1, t0, t1) over the pool, for tiles of all experts that have tokens.
template <class F>
void for_each_tile(const ExpertRouting& routing, const Weights& w, int64_t slots, ThreadPool& pool, F&& f) {
  const int64_t groups = routing.groups();
  const int64_t step = rows_of_task(w, 1, slots / groups, 4 * pool.size() / groups), ranges = (w.N + step - 1) / step;
  pool.parallel_for(groups * ranges, [&](int64_t task) {
    const ExpertGroup g = routing.group(task / ranges);
    const int64_t n0 = task % ranges * step, n1 = std::min(w.N, n0 + step), tokens = std::min(kTileTokens, kTileSums / step);
    for (int64_t t = 0; t < g.count; t += tokens) f(g, n0, n1, t, std::min(g.count, t + tokens));
  });
}

void run_matmul(const Call& call, const ExpertCode& code) {
  const TensorView &x = call.in[0], &ids = call.in[2], &out = call.out[0];
  const Weights w(call.in[1], code);
  const ExpertRouting routing(ids, call.in[1].desc.shape[1], x.desc.rows() == ids.desc.size(), call.scratch);
  for_each_tile(routing, w, ids.desc.size(), call.pool, [&](const ExpertGroup& g, int64_t n0, int64_t n1, int64_t t0, int64_t t1) {
    alignas(64) std::array<float, kTileSums> tile;
    w.multiply(x, g, t0, t1, n0, n1, tile.data());
    for (int64_t t = t0; t < t1; ++t)
      std::memcpy(out.row<float>(g.slots[t]) + n0, &tile[(t - t0) * (n1 - n0)], static_cast<size_t>(n1 - n0) * sizeof(float));
  });
}

void run_swiglu(const Call& call, const ExpertCode& code) {
  const TensorView &x = call.in[0], &ids = call.in[3], &out = call.out[0];
  const Weights gate(call.in[1], code), up(call.in[2], code);
  const ExpertRouting routing(ids, call.in[1].desc.shape[1], x.desc.rows() == ids.desc.size(), call.scratch);
  for_each_tile(routing, gate, ids.desc.size(), call.pool, [&](const ExpertGroup& group, int64_t n0, int64_t n1, int64_t t0, int64_t t1) {
    alignas(64) std::array<float, kTileSums> g, u;
    gate.multiply(x, group, t0, t1, n0, n1, g.data());
    up.multiply(x, group, t0, t1, n0, n1, u.data());
    const int64_t n = n1 - n0;
    if (out.desc.dtype == DType::f32) {
      for (int64_t t = t0; t < t1; ++t) code.silu_times(&g[(t - t0) * n], &u[(t - t0) * n], out.row<float>(group.slots[t]) + n0, n);
      return;
    }
    code.silu_times(g.data(), u.data(), g.data(), (t1 - t0) * n);
    for (int64_t t = t0; t < t1; ++t) {
      auto* q = out.row<int8_t>(group.slots[t]);
      auto* d = reinterpret_cast<float*>(q + gate.N);
      code.code(&g[(t - t0) * n], n, q + n0, d + n0 / 16, d + (gate.N + n0) / 16);
    }
  });
}

/// A task owns a range of output columns and adds to them what each expert has for its tokens, in the order of experts.
void run_matmul_sum(const Call& call, const ExpertCode& code) {
  const TensorView &x = call.in[0], &ids = call.in[2], &out = call.out[0];
  const auto* weights = call.in[3].as<const float>();
  const Weights w(call.in[1], code);
  const ExpertRouting routing(ids, call.in[1].desc.shape[1], true, call.scratch);
  const int64_t per_token = ids.desc.cols(), groups = routing.groups(), each = ids.desc.size() / groups;
  const int64_t step = rows_of_task(w, groups, each, 4 * call.pool.size());
  call.pool.parallel_for((w.N + step - 1) / step, [&](int64_t task) {
    const int64_t n0 = task * step, n1 = std::min(w.N, n0 + step), n = n1 - n0, tokens = std::min(kTileTokens, kTileSums / step);
    for (int64_t t = 0; t < out.desc.rows(); ++t) std::fill_n(out.row<float>(t) + n0, n, 0.f);
    for (int64_t i = 0; i < groups; ++i) {
      const ExpertGroup g = routing.group(i);
      for (int64_t t0 = 0; t0 < g.count; t0 += tokens) {
        alignas(64) std::array<float, kTileSums> tile;
        const int64_t t1 = std::min(g.count, t0 + tokens);
        w.multiply(x, g, t0, t1, n0, n1, tile.data());
        for (int64_t t = t0; t < t1; ++t) code.add_scaled(&tile[(t - t0) * n], weights[g.slots[t]], out.row<float>(g.slots[t] / per_token) + n0, n);
      }
    }
  });
}

size_t scratch_bytes(const Problem& p) { return static_cast<size_t>(ExpertRouting::bytes(p.in[1].shape[1], p.in[expert_inputs(p.op)->ids].size())); }

template <ExpertWeights weights>
bool has_rows(DType type) {
  if (weights == ExpertWeights::any) return quant::Formats::visit(type, [](auto) {});
  if (weights == ExpertWeights::affine) return quant::AffineFormats::visit(type, [](auto) {});
  bool known = false;
  quant::AffineFormats::for_each([&]<class F>(F) { known |= type == interleaved(F::dtype); });
  return known;
}

template <ExpertWeights weights, bool coded>
Support accepts(const Problem& p) {
  constexpr bool kFloat = weights == ExpertWeights::any;
  const DType out = p.out[0].dtype;
  if (auto s = require(out == DType::f32 || (coded && out == DType::q8_g16), "the output's format is not written here"); !s) return s;
  if (auto s =
          require(p.in[0].dtype == (kFloat ? DType::f32 : DType::q8_g16), kFloat ? "the activations are not f32" : "the activations are not q8_g16");
      !s)
    return s;
  const ExpertInputs e = *expert_inputs(p.op);
  for (size_t i = e.first; i < e.first + e.count; ++i) {
    if (auto s = require(has_rows<weights>(p.in[i].dtype), "the weights' type has no rows for these activations"); !s) return s;
    if (auto s = require(p.in[i].shape[2] % info(p.in[i].dtype).tile_rows == 0, "an expert's rows are no whole number of tiles"); !s) return s;
  }
  return {};
}

template <ExpertWeights weights>
Support (*accepts_of(bool coded))(const Problem&) {
  return coded ? accepts<weights, true> : accepts<weights, false>;
}

}  // namespace

void run_experts(const Problem& p, const Call& call, const ExpertCode& code) {
  if (std::holds_alternative<ExpertMatMul>(p.op)) return run_matmul(call, code);
  if (std::holds_alternative<ExpertSwiGlu>(p.op)) return run_swiglu(call, code);
  run_matmul_sum(call, code);
}

void add_expert_rungs(Registry::Adder registry, const ExpertRung& r, void (*run)(const Problem&, const Call&)) {
  for (const std::string_view op : {ExpertMatMul::name, ExpertSwiGlu::name, ExpertMatMulSum::name}) {
    const bool coded = r.coded && op == ExpertSwiGlu::name;
    registry.add({.op = op,
                  .variant = std::string(r.variant),
                  .improves = std::string(r.improves),
                  .note = r.note,
                  .preference = r.preference,
                  .isa = r.isa,
                  .writes = coded ? std::vector<DType>{DType::q8_g16} : std::vector<DType>{},
                  .accepts = r.weights == ExpertWeights::any      ? accepts_of<ExpertWeights::any>(coded)
                             : r.weights == ExpertWeights::affine ? accepts_of<ExpertWeights::affine>(coded)
                                                                  : accepts_of<ExpertWeights::interleaved>(coded),
                  .scratch_bytes = scratch_bytes,
                  .run = run});
  }
}

}  // namespace kerf::cpu
