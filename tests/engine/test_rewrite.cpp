// Graph rewrites: a fused graph computes what the graph it came from computes, its nodes are those that were asked for, and
// a plan of it reads back from its own text. The reference backend has every fused op, so there every rewrite happens.
#include "core/rewrite.h"

#include <fmt/format.h>

#include <sys/wait.h>

#include <cstdio>
#include <map>
#include <set>

#include "core/executor.h"
#include "core/threadpool.h"
#include "experiments/kernel_data.h"
#include "tests/catch.h"
#include "tests/engine/golden.h"
#include "tests/engine/toy_graph.h"

using namespace kerf;
using namespace kerf::test;

namespace {

using Counts = std::map<std::string_view, int64_t>;

Counts count_ops(const Graph& g) {
  Counts n;
  for (const Node& node : g.nodes()) ++n[name_of(node.op)];
  return n;
}

bool runs(const Graph& g, std::string_view node) {
  return std::any_of(g.nodes().begin(), g.nodes().end(), [&](const Node& n) { return n.name == node; });
}

SessionOptions fusing(const std::string& path, const std::string& backend, std::vector<std::string> fusions) {
  auto o = options(path, backend);
  o.policy.fusions = std::move(fusions);
  return o;
}

/// What `kerf` prints, and its exit code.
std::pair<int, std::string> program(const std::string& arguments) {
  FILE* out = popen(fmt::format("'{}' {} 2>&1", KERF_PROGRAM, arguments).c_str(), "r");
  REQUIRE(out);
  std::string text;
  for (int c = 0; (c = std::fgetc(out)) != EOF;) text += static_cast<char>(c);
  const int status = pclose(out);
  return {WIFEXITED(status) ? WEXITSTATUS(status) : -1, text};
}

/// The plan as a file has it, read back over the graph that the file's nodes ask for.
std::string replayed(Session& session, int64_t tokens, int64_t outputs) {
  const auto& p = session.planned(tokens, outputs);
  const PlanFile file = parse_plan_file(to_text(*p.plan, *p.graph), "plan");
  REQUIRE(file.sections.size() == 1);
  const Graph unfused =
      session.model().graph({.tokens = tokens, .outputs = outputs, .context = session.context(), .k = session.k_type(), .v = session.v_type()});
  const Graph fused = fuse(unfused, session.policy(), [&](const Candidate& c) { return file.sections[0].runs(c.node.name); });
  return to_text(plan_from_section(file, file.sections[0], fused, session.registry(), session.policy()), fused);
}

}  // namespace

TEST_CASE("each rewrite alone and all together leave the logits where they were") {
  auto names = golden_names();
  names.push_back("tiny_mixtral_a");
  std::set<std::string> applied;
  for (const auto& name : names) {
    const Golden g = golden(name);
    Session plain(fusing(g.path("f16"), "reference", {"none"}), kernels());
    const auto want = logits(plain, g.tokens_33);
    std::vector<std::vector<std::string>> choices{{"all"}};
    for (const auto& r : rewrites()) choices.push_back({std::string(r.name)});
    for (const auto& fusions : choices) {
      INFO(name << " with " << fusions[0]);
      Session session(fusing(g.path("f16"), "reference", fusions), kernels());
      CHECK(nmse(logits(session, g.tokens_33), want) <= 1e-12);
      CHECK(nmse(logits(session, g.tokens_33, 16), want) <= 1e-12);  // 16, 16, and one token
      const size_t nodes = session.planned(33, 33).graph->nodes().size();
      CHECK(nodes <= plain.planned(33, 33).graph->nodes().size());
      if (nodes < plain.planned(33, 33).graph->nodes().size()) applied.insert(fusions[0]);
    }
  }
  for (const auto& r : rewrites()) CHECK(applied.count(std::string(r.name)) == 1);  // none is for no model
}

TEST_CASE("the nodes that a rewrite replaces are gone, the others stay") {
  for (const auto& name : golden_names()) {
    const auto counts = [&](const std::string& fusion) {
      auto o = fusing(golden(name).path("f16"), "reference", {fusion});
      o.plan_only = true;
      return count_ops(*Session(o, kernels()).planned(1, 1).graph);
    };
    const Counts plain = counts("none");
    const int64_t layers = 2, biases = name == "qwen2" ? 3 * layers : 0;
    INFO(name);
    CHECK(plain == Counts{{"rows", 2},
                          {"rope_table", 1},
                          {"rms_norm", (name == "qwen3" ? 4 : 2) * layers + 1},
                          {"matmul", 7 * layers + 1},
                          {"add", 2 * layers + biases},
                          {"rope", 2 * layers},
                          {"kv_write", 2 * layers},
                          {"attention", layers},
                          {"swiglu", layers}});
    Counts want = plain;
    want.erase("swiglu");
    want["matmul_swiglu"] = layers, want["matmul"] -= 2 * layers;
    CHECK(counts("swiglu") == want);
    want = plain;
    want.erase("add");
    want["matmuls"] = 2 * layers + biases, want["matmul"] -= 2 * layers + biases;
    CHECK(counts("add") == want);
    want = plain;
    want["matmuls"] = 2 * layers, want["matmul"] -= 5 * layers;  // q, k, v; without swiglu's rewrite also gate and up
    CHECK(counts("qkv") == want);
    want = plain;
    want.erase("rope"), want.erase("kv_write");
    want["rope_cache"] = layers;
    CHECK(counts("rope_cache") == want);
    CHECK(counts("format") == plain);  // changes kernels, not nodes
    want.erase("add"), want.erase("swiglu");
    want["matmul_swiglu"] = layers, want["matmuls"] = 3 * layers, want["matmul"] = 1;
    CHECK(counts("all") == want);
  }
}

TEST_CASE("the plan prints a fused node under the names of its parts") {
  const auto text = [](const std::string& model) {
    auto o = fusing(golden(model).path("f16"), "reference", {"all"});
    o.plan_only = true;
    Session session(o, kernels());
    const auto& p = session.planned(1, 1);
    return to_text(*p.plan, *p.graph);
  };
  const auto has = [](const std::string& all, const std::string& part) { return all.find(part) != std::string::npos; };
  const std::string llama = text("llama"), qwen2 = text("qwen2"), qwen3 = text("qwen3");
  CHECK(has(llama, "run     blk.1.attn_q+attn_k+attn_v "));
  CHECK(has(llama, "run     blk.1.ffn_gate+ffn_up+swiglu "));
  CHECK(has(llama, "run     blk.1.attn_output+add "));
  CHECK(has(qwen2, "run     blk.0.attn_q+add_bias+attn_k+add_bias+attn_v+add_bias "));
  CHECK(has(qwen3, "run     blk.0.attn_q+attn_k+attn_v "));
  CHECK(has(qwen3, "run     blk.0.attn_q_norm "));  // between the projection and the rotation: stays a node
  for (const auto& all : {llama, qwen2, qwen3}) {
    CHECK(has(all, "run     blk.0.attn.rope_q+rope_k+write_k+write_v "));
    CHECK(!has(all, "run     blk.0.attn.rope_q "));
    CHECK(!has(all, "run     blk.0.ffn_up "));
  }
}

TEST_CASE("weights on two devices are not read by one node") {
  const Golden g = golden("qwen2");
  Session whole(fusing(g.path("f16"), "reference", {"all"}), kernels());
  auto o = fusing(g.path("f16"), "reference", {"all"});
  o.devices = {"pretend:0=64MiB"};
  o.rules = {{R"(blk\.0\.ffn_up)", "pretend:0", "test"}, {R"(blk\.1\.attn_v\.weight)", "pretend:0", "test"}};
  Session split(o, kernels());
  const Graph& graph = *split.planned(33, 33).graph;
  CHECK(runs(graph, "blk.0.ffn_up"));
  CHECK(runs(graph, "blk.0.ffn_gate"));
  CHECK(runs(graph, "blk.0.ffn.swiglu"));
  CHECK(runs(graph, "blk.1.ffn_gate+ffn_up+swiglu"));
  CHECK(runs(graph, "blk.0.attn_q+add_bias+attn_k+add_bias+attn_v+add_bias"));
  CHECK(!runs(graph, "blk.1.attn_q+add_bias+attn_k+add_bias+attn_v+add_bias"));
  CHECK(nmse(logits(split, g.tokens_33), logits(whole, g.tokens_33)) <= 1e-12);
}

TEST_CASE("a pin of a part keeps it a node of its own") {
  auto o = fusing(golden("llama").path("f16"), "reference", {"all"});
  o.plan_only = true;
  o.policy.pins = {{"blk.0.ffn_up", "reference/matmul"}, {"rope", "reference/rope"}};
  Session session(o, kernels());
  const Graph& graph = *session.planned(1, 1).graph;
  CHECK(runs(graph, "blk.0.ffn_up"));
  CHECK(runs(graph, "blk.0.ffn.swiglu"));
  CHECK(runs(graph, "blk.1.ffn_gate+ffn_up+swiglu"));
  CHECK(count_ops(graph)["rope"] == 4);
  CHECK(count_ops(graph).count("rope_cache") == 0);
  o.policy.pins = {{"matmul", "reference/matmul"}};
  CHECK(count_ops(*Session(o, kernels()).planned(1, 1).graph).count("matmuls") == 0);
}

TEST_CASE("nothing is fused for a backend that --backend ranks below the parts'") {
  Registry registry;
  for (const Kernel& k : kernels().all())
    if (k.backend == "reference" || k.op != MatMulSwiGlu::name) registry.backend(k.backend).add(k);
  auto o = fusing(golden("llama").path("f16"), "cpu", {"swiglu"});
  o.policy.backends = {"cpu", "reference"};
  o.plan_only = true;
  CHECK(count_ops(*Session(o, registry).planned(1, 1).graph).count("matmul_swiglu") == 0);
  o.policy.backends = {"reference", "cpu"};
  CHECK(count_ops(*Session(o, registry).planned(1, 1).graph)["matmul_swiglu"] == 2);
}

TEST_CASE("a plan with fused nodes, prepared weights and written formats reads back as it was") {
  for (const auto& [type, backend] : {std::pair{"f16", "reference"}, {"Q4_K_M", "cpu"}, {"Q2_K", "cpu"}}) {
    auto o = fusing(golden("llama").path(type), backend, {"all"});
    o.plan_only = true;
    Session session(o, kernels());
    for (const int64_t tokens : {1, 33}) {
      INFO(type << " on " << backend << ", " << tokens << " tokens");
      const auto& p = session.planned(tokens, tokens);
      const std::string text = to_text(*p.plan, *p.graph);
      CHECK(replayed(session, tokens, tokens) == text);
      if (std::string(backend) == "reference") continue;
      const auto& homes = session.placement().homes;
      const bool prepared = std::any_of(homes.begin(), homes.end(), [](const Home& h) { return h.is_prepared(); });
      CHECK(prepared == (text.find("\nprepare ") != std::string::npos));
      if (detect_isa() >= Isa::vnni) CHECK(prepared);
      const bool writes = std::any_of(p.plan->steps.begin(), p.plan->steps.end(), [](const Step& s) {
        const auto* run = std::get_if<RunStep>(&s);
        return run && !run->problem.out.empty() && run->problem.out[0].dtype != own_format(run->problem);
      });
      if (detect_isa() >= Isa::avx2) CHECK(writes);  // the norms write what the products read
    }
  }
}

TEST_CASE("--fuse takes the names of rewrites, and no others") {
  const std::string plan = fmt::format("plan -m '{}' --backend reference --tokens 1 --fuse ", golden("llama").path("f16"));
  for (const auto& r : rewrites()) CHECK(program(plan + std::string(r.name)).first == 0);
  const auto [code, text] = program(plan + "swiglu,nonsense");
  CHECK(code == 2);
  CHECK(text.find("nonsense") != std::string::npos);
  CHECK(program(plan + "none").second.find("ffn_gate+ffn_up+swiglu") == std::string::npos);
  CHECK(program(plan + "add,swiglu").second.find("ffn_gate+ffn_up+swiglu") != std::string::npos);
}

TEST_CASE("random graphs: order stays topological, values keep names and shapes, outputs keep their values") {
  constexpr uint64_t kSeed = 0x5EED0F0F;
  constexpr int64_t T = 3, E = 32;
  INFO("seed " << kSeed);
  int64_t fused_nodes = 0;
  for (uint64_t round = 0; round < 200; ++round) {
    Random random(kSeed, round);
    Graph g;
    std::vector<Value> values{g.leaf(Kind::input, "x", matrix(DType::f32, T, E))};
    std::map<std::string, std::vector<float>> data;
    const auto fill = [&](const std::string& name, int64_t n) {
      for (int64_t i = 0; i < n; ++i) data[name].push_back(static_cast<float>(random.normal() / 5));
    };
    fill("x", T * E);
    const auto any = [&] { return values[static_cast<size_t>(random.below(static_cast<int64_t>(values.size())))]; };
    const auto weight = [&](int64_t rows) {
      const std::string name = fmt::format("w{}.weight", data.size());
      fill(name, rows * E);
      return g.leaf(Kind::weight, name, matrix(DType::f32, rows, E));
    };
    for (int i = 0; i < 14; ++i) {
      const int64_t what = random.below(8);
      const Value x = any();
      Value y{};
      if (what < 4) {
        const Value w = weight(E);
        y = g.append(MatMul{}, {x, w});
      } else if (what == 4) {
        const Value other = any();
        y = g.append(Add{}, {x, other});
      } else if (what == 5) {
        const Value bias = weight(1);
        y = g.append(Add{}, {x, bias});
      } else if (what == 6) {
        const Value other = any();
        y = g.append(SwiGlu{}, {x, other});
      } else {
        const Value w = weight(1);
        y = g.append(RmsNorm{}, {x, w});
      }
      values.push_back(y);
      if (random.below(3) == 0) values.push_back(y);  // new values are read more often than old ones
    }
    g.output(values.back());
    g.output(any());
    if (g.outputs()[1] == Value{0}) continue;  // the input itself
    const Graph fused = fuse(g, {}, [&](const Candidate&) { return random.below(4) != 0; });
    fused_nodes += static_cast<int64_t>(g.nodes().size() - fused.nodes().size());

    INFO("round " << round);
    std::set<uint32_t> known;
    for (uint32_t id = 0; id < fused.values().size(); ++id)
      if (fused.values()[id].kind != Kind::computed) known.insert(id);
    std::set<std::string> node_names;
    bool topological = true, same = true;
    for (const Node& node : fused.nodes()) {
      CHECK(node_names.insert(node.name).second);
      for (const Value v : node.in) topological &= known.contains(v.id);
      for (const Value v : node.out) topological &= known.insert(v.id).second;
    }
    CHECK(topological);
    for (const auto& v : fused.values()) {
      const auto before = g.lookup(v.name);
      same &= before && g[*before].desc == v.desc && g[*before].kind == v.kind && g[*before].source == v.source;
    }
    CHECK(same);
    REQUIRE(fused.outputs().size() == g.outputs().size());
    for (size_t i = 0; i < g.outputs().size(); ++i) CHECK(fused[fused.outputs()[i]].name == g[g.outputs()[i]].name);

    const auto compute = [&](const Graph& graph) {
      const auto host = make_device("cpu");
      const auto shared = std::make_shared<const Graph>(graph);
      const auto plan = std::make_shared<const Plan>(make_plan(graph, place(graph, {}, {"cpu"}), {}, reference_kernels(), reference_policy()));
      ThreadPool pool(1);
      Storage storage({host.get()}, graph, plan->placement,
                      {.source = [&](const std::string& name) { return std::as_bytes(std::span<const float>(data.at(name))); }}, reference_kernels(),
                      pool);
      storage.reserve(*plan);
      Program program(shared, plan, reference_kernels(), storage, {{"x", reinterpret_cast<std::byte*>(data.at("x").data())}});
      ExecutorCounters counters;
      program.run(pool, counters, {}, {});
      std::vector<float> all;
      for (const auto& out : program.outputs()) all.insert(all.end(), out.as<float>(), out.as<float>() + out.desc.size());
      return all;
    };
    CHECK(nmse(compute(fused), compute(g)) <= 1e-11);
  }
  CHECK(fused_nodes > 200);
}

TEST_CASE("the toy graph: a product and the addition behind it are one node, and the names of values stay") {
  const Graph g = toy_graph();
  const auto policy = reference_policy();
  const Graph fused = fuse(g, policy, [&](const Candidate& c) { return fits(c, reference_kernels(), policy, place(g, {}, {"cpu"})); });
  CHECK(count_ops(fused) == Counts{{"rows", 1}, {"matmuls", 2}, {"matmul", 1}});
  CHECK(runs(fused, "blk.0.w+add"));
  CHECK(fused.lookup("blk.0.add"));
  CHECK(!fused.lookup("blk.0.w"));  // no longer a value
}

TEST_CASE("a node's outputs need as many names as its op has outputs") {
  Graph g;
  const Value x = g.leaf(Kind::input, "x", matrix(DType::f32, 2, 32)), w = g.leaf(Kind::weight, "w", matrix(DType::f32, 8, 32));
  CHECK_THROWS_AS(g.append_named(MatMuls{.count = 2}, {x, w, w}, "n", {"a"}), std::logic_error);
  const auto out = g.append_named(MatMuls{.count = 2}, {x, w, w}, "n", {"a", "b"});
  REQUIRE(out.size() == 2);
  CHECK(g[out[0]].name == "a");
  CHECK(g[out[1]].desc == matrix(DType::f32, 2, 8));
  CHECK_THROWS_AS(g.append_named(MatMul{}, {x, w}, "m", {"a"}), std::logic_error);  // the name is taken
}
