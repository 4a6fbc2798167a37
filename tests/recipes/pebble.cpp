#include "tests/recipes/pebble.h"

#include <fmt/format.h>

#include "loaders/models/blocks.h"

namespace kerf {
namespace {

class Pebble final : public Model {
 public:
  Pebble(HParams hparams, WeightFinder& finder) : Model(std::move(hparams)) {
    const HParams& h = this->hparams();
    const int64_t E = h.n_embd, F = h.n_ff;
    Binder top(finder);
    token_embd_ = top.need("token_embd.weight", {h.n_vocab, E});
    output_norm_ = top.need("output_norm.weight", {E});
    output_ = bind_head(top, token_embd_, h.n_vocab, E);
    for (int64_t l = 0; l < h.n_layer; ++l) {
      Binder t(finder, fmt::format("blk.{}.", l));
      layers_.push_back({
          .norm = t.need("ffn_norm.weight", {E}),
          .ffn = {.gate = t.need("ffn_gate.weight", {F, E}), .up = t.need("ffn_up.weight", {F, E}), .down = t.need("ffn_down.weight", {E, F})},
      });
    }
  }

  Graph graph(const GraphOptions& options) const override {
    Graph g;
    const HParams& h = hparams();
    Pass pass{.p = {g}, .h = h, .options = options};
    pass.tokens = g.leaf(Kind::input, std::string(inputs::kTokens), vector_of(DType::i32, options.tokens));
    pass.output_rows = g.leaf(Kind::input, std::string(inputs::kOutputRows), vector_of(DType::i32, options.outputs));
    Paper& p = pass.p;
    Value x = p.rows(p.weight(token_embd_), pass.tokens);  // [T, E]
    for (int64_t l = 0; l < h.n_layer; ++l) {
      const auto scope = g.scope(fmt::format("blk.{}", l));
      const Layer& w = layers_[static_cast<size_t>(l)];
      const Value f = swiglu_ffn(pass, w.ffn, p.norm(x, w.norm, h.rms_eps));
      x = p.add(x, f);
    }
    end_pass(pass, select_outputs(pass, x), output_norm_, output_);
    return g;
  }

 private:
  struct Layer {
    Weight norm{};
    FfnWeights ffn{};
  };
  Weight token_embd_, output_norm_, output_;
  std::vector<Layer> layers_;
};

}  // namespace

std::unique_ptr<Model> load_pebble(HParams hparams, WeightFinder& finder) { return std::make_unique<Pebble>(std::move(hparams), finder); }

}  // namespace kerf
