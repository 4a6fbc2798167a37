// Qwen3-Next (Qwen team 2025): three layers of Gated DeltaNet for each one of attention, whose output is gated and whose
// heads are rotated in part; all layers have experts and a shared one. Heads of v that share a head of k lie together.
#include <fmt/format.h>

#include "loaders/models/architectures.h"
#include "loaders/models/blocks.h"

namespace kerf {
namespace {

class Qwen3Next final : public Model {
 public:
  Qwen3Next(HParams hparams, WeightFinder& finder) : Model(std::move(hparams)) {
    const HParams& h = this->hparams();
    const int64_t E = h.n_embd;
    Binder top(finder);
    token_embd_ = top.need("token_embd.weight", {h.n_vocab, E});
    output_norm_ = top.need("output_norm.weight", {E});
    output_ = bind_head(top, token_embd_, h.n_vocab, E);
    for (int64_t l = 0; l < h.n_layer; ++l) {
      Binder t(finder, fmt::format("blk.{}.", l));
      Layer& w = layers_.emplace_back();
      w.attn_norm = t.need("attn_norm.weight", {E});
      if (h.recurrent[static_cast<size_t>(l)]) {
        w.delta = bind_delta_net(t, h);
        bind_inputs(t, w.delta);
      } else {
        w.attn = bind_gated_attention(t, h);
      }
      w.post_norm = t.need("post_attention_norm.weight", {E});
      w.experts = bind_experts_or_merged(t, h);
      w.shared = bind_shared_expert(t, h);
    }
  }

  Graph graph(const GraphOptions& options) const override {
    Graph g;
    const HParams& h = hparams();
    Pass pass = begin_pass(g, h, options);
    Paper& p = pass.p;
    const HeadOrder order = h.delta.v_head_reordered.value_or(false) ? HeadOrder::tiled : HeadOrder::grouped;
    const Router router{.used = static_cast<int>(h.experts.used)};
    Value x = p.rows(p.weight(token_embd_), pass.tokens);  // [T, E]
    for (int64_t l = 0; l < h.n_layer; ++l) {
      const auto scope = g.scope(fmt::format("blk.{}", l));
      const Layer& w = layers_[static_cast<size_t>(l)];
      const Value a = p.norm(x, w.attn_norm, h.rms_eps);
      const Value m = w.delta ? delta_net(pass, w.delta, l, a, order) : gated_attention(pass, w.attn, l, a, RopePairing::neox);
      x = p.add(x, m);
      if (l + 1 == h.n_layer) x = select_outputs(pass, x);
      const Value n = p.norm(x, w.post_norm, h.rms_eps);
      const Value routed = moe(pass, w.experts, n, router);
      const Value shared = shared_expert(pass, w.shared, n);
      const Value f = p.add(routed, shared);
      x = p.add(x, f);
    }
    end_pass(pass, x, output_norm_, output_);
    return g;
  }

 private:
  struct Layer {
    Weight attn_norm{};
    AttentionWeights attn{};  // one of the two is empty
    DeltaWeights delta{};
    Weight post_norm{};
    ExpertWeights experts{};
    SharedExpertWeights shared{};
  };

  /// Early files have one ssm_in for q, k, v and z: of each head of k, its q and k, then v and z of its heads of v. Rows are
  /// stored one by one in every format, so that they can be put in order without a change.
  void bind_inputs(Binder& t, DeltaWeights& w) const {
    const DeltaParams& d = hparams().delta;
    const int64_t E = hparams().n_embd, dk = d.state_size, of_v = d.values() / d.group_count, group = 2 * (dk + of_v);
    w.beta_alpha = t.need("ssm_ba.weight", {2 * d.time_step_rank, E});
    if (t.has("attn_qkv.weight") || !t.has("ssm_in.weight")) {
      w.qkv = t.need("attn_qkv.weight", {d.channels(), E});
      w.z = t.need("attn_gate.weight", {d.values(), E});
      return;
    }
    const Weight in = t.need("ssm_in.weight", {d.group_count * group, E});
    std::vector<Binder::Rows> qkv, z;
    const auto from_each_group = [&](std::vector<Binder::Rows>& rows, int64_t first, int64_t count) {
      for (int64_t g = 0; g < d.group_count; ++g) rows.push_back({.first = g * group + first, .count = count});
    };
    from_each_group(qkv, 0, dk);
    from_each_group(qkv, dk, dk);
    from_each_group(qkv, 2 * dk, of_v);
    from_each_group(z, 2 * dk + of_v, of_v);
    w.qkv = t.rows_of(in, "attn_qkv.weight", qkv);
    w.z = t.rows_of(in, "attn_gate.weight", z);
    t.repaired("tensor ssm_in.weight: taken apart into attn_qkv.weight and attn_gate.weight");
  }

  Weight token_embd_, output_norm_, output_;
  std::vector<Layer> layers_;
};

}  // namespace

std::unique_ptr<Model> load_qwen3next(HParams hparams, WeightFinder& finder) { return std::make_unique<Qwen3Next>(std::move(hparams), finder); }

}  // namespace kerf
