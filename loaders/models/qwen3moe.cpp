// Qwen3-MoE (Yang et al. 2025): attention as in Qwen3; the feed-forward is a mixture of experts, where the weights of those
// chosen for a token sum to one.
#include <fmt/format.h>

#include "loaders/models/architectures.h"
#include "loaders/models/blocks.h"

namespace kerf {
namespace {

class Qwen3Moe final : public Model {
 public:
  Qwen3Moe(HParams hparams, WeightFinder& finder) : Model(std::move(hparams)) {
    const HParams& h = this->hparams();
    const int64_t E = h.n_embd, Q = h.n_head * h.head_dim, KV = h.n_head_kv * h.head_dim;
    Binder top(finder);
    token_embd_ = top.need("token_embd.weight", {h.n_vocab, E});
    output_norm_ = top.need("output_norm.weight", {E});
    output_ = bind_head(top, token_embd_, h.n_vocab, E);
    for (int64_t l = 0; l < h.n_layer; ++l) {
      Binder t(finder, fmt::format("blk.{}.", l));
      // Assigned one by one: GCC 12 destroys a nested aggregate twice when a later initializer of the same braces throws.
      Layer& w = layers_.emplace_back();
      w.attn_norm = t.need("attn_norm.weight", {E});
      w.attn.q = t.need("attn_q.weight", {Q, E});
      w.attn.k = t.need("attn_k.weight", {KV, E});
      w.attn.v = t.need("attn_v.weight", {KV, E});
      w.attn.o = t.need("attn_output.weight", {E, Q});
      w.attn.q_norm = t.need("attn_q_norm.weight", {h.head_dim});
      w.attn.k_norm = t.need("attn_k_norm.weight", {h.head_dim});
      w.ffn_norm = t.need("ffn_norm.weight", {E});
      w.experts = bind_experts(t, h);
    }
  }

  Graph graph(const GraphOptions& options) const override {
    Graph g;
    const HParams& h = hparams();
    Pass pass = begin_pass(g, h, options);
    Paper& p = pass.p;
    const Router router{.used = static_cast<int>(h.experts.used)};
    Value x = p.rows(p.weight(token_embd_), pass.tokens);  // [T, E]
    for (int64_t l = 0; l < h.n_layer; ++l) {
      const auto scope = g.scope(fmt::format("blk.{}", l));
      const Layer& w = layers_[static_cast<size_t>(l)];
      const Value a = attention(pass, w.attn, l, p.norm(x, w.attn_norm, h.rms_eps), RopePairing::neox);
      x = p.add(x, a);
      if (l + 1 == h.n_layer) x = select_outputs(pass, x);
      const Value f = moe(pass, w.experts, p.norm(x, w.ffn_norm, h.rms_eps), router);
      x = p.add(x, f);
    }
    end_pass(pass, x, output_norm_, output_);
    return g;
  }

 private:
  struct Layer {
    Weight attn_norm{};
    AttentionWeights attn{};
    Weight ffn_norm{};
    ExpertWeights experts{};
  };
  Weight token_embd_, output_norm_, output_;
  std::vector<Layer> layers_;
};

}  // namespace

std::unique_ptr<Model> load_qwen3moe(HParams hparams, WeightFinder& finder) { return std::make_unique<Qwen3Moe>(std::move(hparams), finder); }

}  // namespace kerf
