// Qwen3.5, dense (Qwen team 2026): as Qwen3.5-MoE with one feed-forward in place of experts.
#include <fmt/format.h>

#include "loaders/models/architectures.h"
#include "loaders/models/blocks.h"

namespace kerf {
namespace {

class Qwen35 final : public Model {
 public:
  Qwen35(HParams hparams, WeightFinder& finder) : Model(std::move(hparams)) {
    const HParams& h = this->hparams();
    const int64_t E = h.n_embd, F = h.n_ff;
    set_aside_companions(finder);
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
        bind_delta_inputs(t, h, w.delta);
      } else {
        w.attn = bind_gated_attention(t, h);
      }
      w.post_norm = t.need("post_attention_norm.weight", {E});
      w.ffn.gate = t.need("ffn_gate.weight", {F, E});
      w.ffn.up = t.need("ffn_up.weight", {F, E});
      w.ffn.down = t.need("ffn_down.weight", {E, F});
    }
  }

  Graph graph(const GraphOptions& options) const override {
    Graph g;
    const HParams& h = hparams();
    Pass pass = begin_pass(g, h, options);
    Paper& p = pass.p;
    const HeadOrder order = h.delta.v_head_reordered.value_or(true) ? HeadOrder::tiled : HeadOrder::grouped;
    Value x = p.rows(p.weight(token_embd_), pass.tokens);  // [T, E]
    for (int64_t l = 0; l < h.n_layer; ++l) {
      const auto scope = g.scope(fmt::format("blk.{}", l));
      const Layer& w = layers_[static_cast<size_t>(l)];
      const Value a = p.norm(x, w.attn_norm, h.rms_eps);
      const Value m = w.delta ? delta_net(pass, w.delta, l, a, order) : gated_attention(pass, w.attn, l, a, RopePairing::neox);
      x = p.add(x, m);
      if (l + 1 == h.n_layer) x = select_outputs(pass, x);
      const Value n = p.norm(x, w.post_norm, h.rms_eps);
      const Value f = swiglu_ffn(pass, w.ffn, n);
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
    FfnWeights ffn{};
  };
  Weight token_embd_, output_norm_, output_;
  std::vector<Layer> layers_;
};

}  // namespace

std::unique_ptr<Model> load_qwen35(HParams hparams, WeightFinder& finder) { return std::make_unique<Qwen35>(std::move(hparams), finder); }

}  // namespace kerf
