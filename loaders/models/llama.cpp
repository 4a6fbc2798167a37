// Llama 2, 3, 3.1+, Mistral and what is built like them (Touvron et al. 2023; Grattafiori et al. 2024): pre-norm
// grouped-query attention with interleaved rotary pairs, SwiGLU feed-forward, RMS norms. Llama 3.1+ files carry
// rope_freqs, which stretches low frequencies; small ones share the embedding with the head; some derivatives have biases.
// Mixtral (Jiang et al. 2024) goes by the same name: its feed-forward is a mixture of experts, which expert_count says.
#include <fmt/format.h>

#include "loaders/models/architectures.h"
#include "loaders/models/blocks.h"

namespace kerf {
namespace {

class Llama final : public Model {
 public:
  Llama(HParams hparams, WeightFinder& finder) : Model(std::move(hparams)) {
    const HParams& h = this->hparams();
    const int64_t E = h.n_embd, Q = h.n_head * h.head_dim, KV = h.n_head_kv * h.head_dim, F = h.n_ff;
    Binder top(finder);
    token_embd_ = top.need("token_embd.weight", {h.n_vocab, E});
    output_norm_ = top.need("output_norm.weight", {E});
    output_ = bind_head(top, token_embd_, h.n_vocab, E);
    rope_freqs_ = top.want("rope_freqs.weight", {h.rope.dims / 2});
    for (int64_t l = 0; l < h.n_layer; ++l) {
      Binder t(finder, fmt::format("blk.{}.", l));
      // Assigned one by one: GCC 12 destroys a nested aggregate twice when a later initializer of the same braces throws.
      Layer& w = layers_.emplace_back();
      w.attn_norm = t.need("attn_norm.weight", {E});
      w.attn.q = t.need("attn_q.weight", {Q, E});
      w.attn.k = t.need("attn_k.weight", {KV, E});
      w.attn.v = t.need("attn_v.weight", {KV, E});
      w.attn.o = t.need("attn_output.weight", {E, Q});
      w.attn.q_bias = t.want("attn_q.bias", {Q});
      w.attn.k_bias = t.want("attn_k.bias", {KV});
      w.attn.v_bias = t.want("attn_v.bias", {KV});
      w.attn.o_bias = t.want("attn_output.bias", {E});
      w.ffn_norm = t.need("ffn_norm.weight", {E});
      if (h.experts.count > 0) {
        w.experts = bind_experts(t, h);
        continue;
      }
      w.ffn.gate = t.need("ffn_gate.weight", {F, E});
      w.ffn.up = t.need("ffn_up.weight", {F, E});
      w.ffn.down = t.need("ffn_down.weight", {E, F});
      w.ffn.gate_bias = t.want("ffn_gate.bias", {F});
      w.ffn.up_bias = t.want("ffn_up.bias", {F});
      w.ffn.down_bias = t.want("ffn_down.bias", {E});
    }
  }

  Graph graph(const GraphOptions& options) const override {
    Graph g;
    const HParams& h = hparams();
    Pass pass = begin_pass(g, h, options, rope_freqs_);
    Paper& p = pass.p;
    const Router router{.used = static_cast<int>(h.experts.used)};
    Value x = p.rows(p.weight(token_embd_), pass.tokens);  // [T, E]
    for (int64_t l = 0; l < h.n_layer; ++l) {
      const auto scope = g.scope(fmt::format("blk.{}", l));
      const Layer& w = layers_[static_cast<size_t>(l)];
      const Value a = attention(pass, w.attn, l, p.norm(x, w.attn_norm, h.rms_eps), RopePairing::norm);
      x = p.add(x, a);
      if (l + 1 == h.n_layer) x = select_outputs(pass, x);
      const Value n = p.norm(x, w.ffn_norm, h.rms_eps);
      const Value f = w.experts.router ? moe(pass, w.experts, n, router) : swiglu_ffn(pass, w.ffn, n);
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
    FfnWeights ffn{};  // one of the two is empty
    ExpertWeights experts{};
  };
  Weight token_embd_, output_norm_, output_, rope_freqs_;
  std::vector<Layer> layers_;
};

}  // namespace

std::unique_ptr<Model> load_llama(HParams hparams, WeightFinder& finder) { return std::make_unique<Llama>(std::move(hparams), finder); }

}  // namespace kerf
