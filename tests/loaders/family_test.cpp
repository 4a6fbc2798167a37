// Models with experts and with Gated DeltaNet: all their tensors are asked for by name and shape, and other dialects of the
// format give the same graph over the same bytes.
#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "core/error.h"
#include "loaders/models/model.h"
#include "tests/catch.h"
#include "tests/loaders/tiny_family.h"
#include "tests/loaders/tiny_model.h"

namespace kerf::test {
namespace {

using W = GgufWriter;

struct Loaded {
  std::string bytes{};
  std::unique_ptr<gguf::File> file{};
  std::unique_ptr<Model> model{};
  std::vector<std::string> warnings{};
};
Loaded load(const W& w) {
  Loaded l{.bytes = w.bytes()};
  l.file = std::make_unique<gguf::File>(gguf::File::from_bytes(std::as_bytes(std::span(l.bytes.data(), l.bytes.size())), "m"));
  l.model = load_model(*l.file, l.warnings, true);
  return l;
}
std::string refusal(const W& w) {
  try {
    load(w);
    return "(accepted)";
  } catch (const FileError& e) {
    return e.what();
  }
}

Graph graph(const Loaded& l) { return l.model->graph({.tokens = 3, .outputs = 2, .context = 16}); }

/// Bytes of every weight of the graph by the name it has there.
std::map<std::string, std::string> weights(const Loaded& l) {
  WeightBytes bytes(*l.file, l.model->assemblies());
  std::map<std::string, std::string> all;
  const Graph g = graph(l);
  for (const auto& value : g.values()) {
    if (value.kind != Kind::weight) continue;
    const auto data = bytes.of(value.source);
    CHECK(static_cast<int64_t>(data.size()) == value.desc.bytes());
    all[value.name] = to_text(value.desc) + std::string(reinterpret_cast<const char*>(data.data()), data.size());
  }
  return all;
}
std::vector<std::string> nodes(const Loaded& l) {
  std::vector<std::string> all;
  const Graph g = graph(l);
  for (const auto& n : g.nodes()) all.push_back(n.name + " " + to_text(n.op));
  return all;
}

template <class Change>
W changed(std::string_view family, Change change) {
  W w = tiny_family(family);
  change(w);
  return w;
}

}  // namespace

TEST_CASE("every tensor of a family is used, and the graph has the shapes it should") {
  for (const auto& name : tiny_families()) {
    INFO(name);
    const Loaded l = load(tiny_family(name));  // strict: a tensor that nobody asks for is an error
    CHECK(l.warnings.empty());
    CHECK(l.model->hparams().repairs.empty());
    const Graph g = graph(l);
    CHECK(g[g.outputs().at(0)].desc == matrix(DType::f32, 2, 300));
    const Graph ids = l.model->graph({.tokens = 3, .outputs = 2, .context = 16, .result = PassResult::greedy_ids});
    CHECK(ids[ids.outputs().at(0)].desc == matrix(DType::i32, 2, 1));
    CHECK(ids.nodes().size() == g.nodes().size() + 1);
    CHECK(weights(l).size() == l.file->tensors().size());
    const auto state = g.lookup("state.blk.0.delta");
    CHECK(state.has_value() == !l.model->hparams().recurrent.empty());
    if (!state) continue;
    CHECK(g[*state].desc == TensorDesc{DType::f32, {1, kTinyValueHeads, kTinyState, kTinyState}});
    CHECK(g[g.find("state.blk.0.conv")].desc == matrix(DType::f32, 3, (2 * kTinyKeyHeads + kTinyValueHeads) * kTinyState));
    CHECK(g[*state].kind == Kind::state);
    CHECK_FALSE(g.lookup("kv.blk.0.k"));
    CHECK(g.lookup("kv.blk.1.k"));
  }
}

TEST_CASE("a tensor that is missing or has another shape is named") {
  for (const auto& name : tiny_families()) {
    const W whole = tiny_family(name);
    for (const auto& t : whole.tensors) {
      INFO(name << " without " << t.name);
      W w = whole;
      w.erase_tensor(t.name);
      const bool head = t.name == "output.weight" && name != "qwen2moe";  // the embedding takes its place
      CHECK(refusal(w) == (head ? "(accepted)" : "m: tensor " + t.name + ": missing"));
      w = whole;
      auto& other = w.tensor(t.name);
      other.ne.back() += 1;
      other.data = random_values(0, other.data.size() / 4 / t.ne.back() * other.ne.back(), 1);
      CHECK(refusal(w).find(fmt::format(": {}: expected [{}], got [{}]", t.name, fmt::join(t.ne, ","), fmt::join(other.ne, ","))) !=
            std::string::npos);
    }
  }
}

TEST_CASE("heads of v are in the order of the architecture, or of the file if it says so") {
  const auto order = [](const W& w) {
    const Loaded l = load(w);
    const Graph g = graph(l);
    for (const auto& n : g.nodes())
      if (const auto* rule = std::get_if<GatedDeltaRule>(&n.op)) return rule->order;
    throw std::logic_error("no delta rule");
  };
  for (const std::string name : {"qwen3next", "qwen35", "qwen35moe"}) {
    INFO(name);
    CHECK(order(tiny_family(name)) == (name == "qwen3next" ? HeadOrder::grouped : HeadOrder::tiled));
    for (const bool tiled : {false, true})
      CHECK(order(changed(name, [&](W& w) { w.boolean(name + ".ssm.v_head_reordered", tiled); })) == (tiled ? HeadOrder::tiled : HeadOrder::grouped));
  }
}

TEST_CASE("only Qwen2's experts keep the probabilities they were chosen with") {
  for (const auto& name : tiny_families()) {
    INFO(name);
    const Loaded l = load(tiny_family(name));
    const Graph g = graph(l);
    int routers = 0;
    for (const auto& n : g.nodes())
      if (const auto* router = std::get_if<Router>(&n.op)) {
        ++routers;
        CHECK(router->used == 2);
        CHECK(router->renormalize == (name != "qwen2moe"));
      }
    CHECK(routers == (name == "qwen35" ? 0 : 2));
  }
}

TEST_CASE("dialects give the same graph over the same bytes, and are listed") {
  const auto same = [](std::string_view family, void (*dialect)(W&), const std::vector<std::string>& repairs) {
    INFO(family);
    const Loaded standard = load(tiny_family(family)), other = load(changed(family, dialect));
    CHECK(nodes(other) == nodes(standard));
    CHECK(weights(other) == weights(standard));
    CHECK(other.model->hparams().repairs == repairs);
    REQUIRE(other.warnings.size() == 1);
    for (const auto& repair : repairs) CHECK(other.warnings[0].find(repair) != std::string::npos);
  };
  const std::string stacked = "tensors ffn_{0}.0.weight to ffn_{0}.3.weight: stacked as ffn_{0}_exps.weight";
  for (const auto family : {"mixtral", "qwen2moe"})
    same(family, split_experts,
         {fmt::format(fmt::runtime(stacked), "gate"), fmt::format(fmt::runtime(stacked), "up"), fmt::format(fmt::runtime(stacked), "down")});
  for (const std::string family : {"qwen35", "qwen35moe"})
    same(family, to_ollama,
         {family + ".attention.head_count_kv: one value per layer, 0 for recurrent ones; 2 taken for all others",
          family + ".rope.dimension_sections: 3 sections where the format has 4; 0 taken for the fourth",
          "2 tensors v.*: the encoder of images, not used", "1 tensor mm.*: its projector, not used",
          "1 tensor mtp.*: the predictor of further tokens, not used", "tensor ssm_dt: taken as ssm_dt.bias"});
  same("qwen3next", fuse_ssm_in, {"tensor ssm_in.weight: taken apart into attn_qkv.weight and attn_gate.weight"});
}

TEST_CASE("the experts of a layer are all there, of one shape and one type") {
  const auto broken = [](auto change) {
    W w = changed("mixtral", split_experts);
    change(w);
    return refusal(w);
  };
  CHECK(broken([](W& w) { w.erase_tensor("blk.1.ffn_up.2.weight"); }) == "m: tensor blk.1.ffn_up.2.weight: missing");
  CHECK(broken([](W& w) { w.erase_tensor("blk.0.ffn_gate.0.weight"); }) == "m: tensor blk.0.ffn_gate.0.weight: missing");
  CHECK(broken([](W& w) {
          for (int e = 0; e < 4; ++e) w.erase_tensor(fmt::format("blk.0.ffn_gate.{}.weight", e));
        }) == "m: tensor blk.0.ffn_gate_exps.weight: missing");
  CHECK(broken([](W& w) {
          w.tensor("blk.1.ffn_down.3.weight").ne = {32, 64};
        }).find(": blk.1.ffn_down.3.weight: expected [64,32], got [32,64]") != std::string::npos);
  CHECK(broken([](W& w) {
          auto& t = w.tensor("blk.0.ffn_gate.1.weight");
          t.type = 1;
          t.data = random_values(1, 32 * 64, 1);
        }).find(": blk.0.ffn_gate.1.weight: expected f32, as blk.0.ffn_gate.0.weight has, got f16") != std::string::npos);
  CHECK(broken([](W& w) { w.u32("llama.expert_count", 3); }).find("ffn_gate_inp.weight: expected [32,3], got [32,4]") != std::string::npos);
}

TEST_CASE("gate and up of experts may be one tensor") {
  for (const std::string family : {"qwen3next", "qwen35moe"}) {
    const Loaded l = load(changed(family, merge_gate_up));
    CHECK(l.warnings.empty());
    const Graph g = graph(l);
    CHECK(g[g.find("blk.0.ffn_gate_up_exps")].desc == matrix(DType::f32, 6, 32));
    CHECK(g[g.find("blk.1.experts.up")].desc == matrix(DType::f32, 4, 16));  // of the two tokens whose logits are wanted
  }
}

TEST_CASE("a block that predicts further tokens is kept and not run") {
  for (const std::string family : {"qwen3next", "qwen35", "qwen35moe"}) {
    INFO(family);
    const Loaded standard = load(tiny_family(family)), l = load(changed(family, add_nextn));
    CHECK(l.model->hparams().n_layer == 2);
    CHECK(l.model->hparams().n_nextn == 1);
    CHECK(nodes(l) == nodes(standard));
    CHECK(weights(l) == weights(standard));
    CHECK(l.warnings == std::vector<std::string>{"m: block 2 predicts further tokens (nextn_predict_layers): its 2 tensors are kept and not used"});
  }
}

}  // namespace kerf::test
