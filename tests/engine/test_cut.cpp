// The cut: wherever a model is split, the logits are the same bits, the bytes that cross are the bytes the plan said, and
// a device one byte too small is refused. Pretend devices fault if a step touches memory of another device.
#include <fmt/format.h>

#include <cstdio>

#include "core/error.h"
#include "experiments/io.h"
#include "tests/catch.h"
#include "tests/engine/golden.h"

using namespace kerf;
using namespace kerf::test;

namespace {

const std::vector<std::string> kDevices{"pretend:0=64MiB", "pretend:1=64MiB"};

/// One device per unit: layers in order, then the head. The embedding goes with the first layer if asked.
std::vector<Rule> rules_for(const std::vector<std::string>& units, bool embedding) {
  std::vector<Rule> rules;
  for (size_t l = 0; l + 1 < units.size(); ++l) rules.push_back({fmt::format(R"((^|\.)blk\.{}\.)", l), units[l], "test"});
  rules.push_back({"^output", units.back(), "test"});
  if (embedding) rules.push_back({"^(token_embd|rope_freqs)", units.front(), "test"});
  return rules;
}

/// Every way to give `n` units in order to the devices in order: all split points.
std::vector<std::vector<std::string>> splits(size_t n, const std::vector<std::string>& order) {
  if (order.size() == 1) return {std::vector<std::string>(n, order[0])};
  std::vector<std::vector<std::string>> all;
  for (size_t first = 0; first <= n; ++first)
    for (auto& rest : splits(n - first, {order.begin() + 1, order.end()})) {
      std::vector<std::string> units(first, order[0]);
      units.insert(units.end(), rest.begin(), rest.end());
      all.push_back(std::move(units));
    }
  return all;
}

}  // namespace

TEST_CASE("every split point of every golden model gives the same bits") {
  for (const auto& name : golden_names()) {
    const Golden g = golden(name);
    auto o = options(g.path("f16"), "cpu");
    o.micro_batch = 64;
    o.max_outputs = 64;
    Session host(o, kernels());
    const auto want = logits(host, g.tokens_150, 100);
    const size_t units = static_cast<size_t>(host.model().hparams().n_layer) + 1;
    o.devices = kDevices;
    for (const auto& order : std::vector<std::vector<std::string>>{{"cpu", "pretend:0"},
                                                                   {"pretend:0", "cpu"},
                                                                   {"cpu", "pretend:0", "pretend:1"},
                                                                   {"pretend:1", "pretend:0", "cpu"},
                                                                   {"pretend:0", "cpu", "pretend:1"}})
      for (const auto& split : splits(units, order)) {
        INFO(name << ": " << fmt::format("{}", fmt::join(split, " ")));
        o.rules = rules_for(split, order.front() != "cpu");
        Session session(o, kernels());
        CHECK(same_bits(logits(session, g.tokens_150, 100), want));
        // 150 tokens in calls of 100 and 50, in micro-batches of 64: 64 + 36, then 50.
        int64_t planned = 0;
        for (const int64_t tokens : {64, 36, 50}) planned += session.planned(tokens, tokens).plan->boundary_bytes();
        CHECK(session.counters().copied_bytes == planned);
      }
  }
}

TEST_CASE("the bytes copied are the bytes planned") {
  const Golden g = golden("llama");
  auto o = options(g.path("Q4_K_M"), "cpu");
  o.devices = kDevices;
  o.rules = rules_for({"pretend:1", "cpu", "pretend:0"}, true);
  Session session(o, kernels());
  logits(session, g.tokens_33);
  const auto& prefill = *session.planned(33, 33).plan;
  CHECK(prefill.boundary_bytes() > 0);
  CHECK(session.counters().copied_bytes == prefill.boundary_bytes());
  CHECK(session.counters().copies == prefill.boundary_copies());
  const int32_t next = 5;
  session.forward({&next, 1});
  const auto& decode = *session.planned(1, 1).plan;
  CHECK(session.counters().copied_bytes == prefill.boundary_bytes() + decode.boundary_bytes());
}

TEST_CASE("weights, cache and single tensors go where rules say") {
  const Golden g = golden("qwen3");
  auto o = options(g.path("f16"), "cpu");
  Session host(o, kernels());
  const auto want = logits(host, g.tokens_33);
  o.devices = kDevices;
  for (const std::string pattern : {"kv\\.blk\\.0", "attn_(q|k|v)", "ffn_down", "attn_norm", "token_embd", "^output"}) {
    INFO(pattern);
    o.rules = {{pattern, "pretend:0", "test"}};
    Session session(o, kernels());
    CHECK(same_bits(logits(session, g.tokens_33), want));
    int there = 0;
    for (const auto& home : session.placement().homes) there += home.device == "pretend:0" ? 1 : 0;
    CHECK(there > 0);
  }
}

TEST_CASE("models of experts and hybrids give the same bits wherever they are split") {
  for (const auto& name : tiny_names()) {
    const Golden g = golden(name);
    auto o = options(g.path("f16"), "cpu");
    o.micro_batch = o.max_outputs = 64;
    Session host(o, kernels());
    const auto want = logits(host, g.tokens_150, 100);
    const size_t units = static_cast<size_t>(host.model().hparams().n_layer) + 1;
    o.devices = kDevices;
    std::vector<std::pair<std::string, std::vector<Rule>>> cuts;
    for (const auto& order : std::vector<std::vector<std::string>>{{"cpu", "pretend:0"}, {"pretend:1", "cpu", "pretend:0"}})
      for (const auto& split : splits(units, order))
        cuts.emplace_back(fmt::format("{}", fmt::join(split, " ")), rules_for(split, order.front() != "cpu"));
    const auto rest_away = [&](std::vector<Rule> first) {
      for (auto& rule : layer_rules(static_cast<int64_t>(units) - 1, 99, {"pretend:0"}, {})) first.push_back(std::move(rule));
      return first;
    };
    cuts.emplace_back("experts on the host", rest_away(parse_override("ffn_.*_exps=cpu")));
    cuts.emplace_back("--cpu-moe", rest_away(expert_rules(static_cast<int64_t>(units) - 1, std::nullopt)));
    cuts.emplace_back("--n-cpu-moe 1", rest_away(expert_rules(static_cast<int64_t>(units) - 1, 1)));
    cuts.emplace_back("experts on a device of their own", rest_away({{"ffn_.*_exps", "pretend:1", "test"}}));
    cuts.emplace_back("routers away", std::vector<Rule>{{"ffn_gate_inp", "pretend:1", "test"}});
    cuts.emplace_back("one matrix of the experts away", std::vector<Rule>{{"ffn_down_exps", "pretend:0", "test"}});
    cuts.emplace_back("states away", std::vector<Rule>{{R"(^state\.)", "pretend:0", "test"}});
    cuts.emplace_back("states of two kinds apart",
                      std::vector<Rule>{{R"(^state\..*conv)", "pretend:0", "test"}, {"^(state|kv)", "pretend:1", "test"}});
    for (auto& [what, rules] : cuts) {
      INFO(name << ": " << what);
      o.rules = rules;
      Session session(o, kernels());
      CHECK(same_bits(logits(session, g.tokens_150, 100), want));
      int64_t planned = 0;
      for (const int64_t tokens : {64, 36, 50}) planned += session.planned(tokens, tokens).plan->boundary_bytes();
      CHECK(session.counters().copied_bytes == planned);
    }
  }
}

TEST_CASE("--cpu-moe keeps the experts on the host, and nothing else") {
  for (const std::string name : {"tiny_mixtral_a", "tiny_qwen2_moe_a", "tiny_qwen3_5_moe_b"}) {
    const Golden g = golden(name);
    auto o = options(g.path("f16"), "cpu");
    o.devices = {"pretend:0=64MiB"};
    o.gpu_layers = 99;
    o.plan_only = true;
    for (const int64_t n : {-1, 0, 1, 2, 1000}) {
      o.cpu_moe = n < 0;
      o.n_cpu_moe = n < 0 ? std::nullopt : std::optional(n);
      Session session(o, kernels());
      for (const auto& home : session.placement().homes) {
        INFO(name << ", " << n << ": " << home.name);
        const size_t at = home.name.find("blk.");
        const bool in_layer = at != std::string::npos, experts = home.name.find("_exps.") != std::string::npos;
        const bool kept = experts && (n < 0 || std::stoi(home.name.substr(at + 4)) < n);
        CHECK((home.device == kHost) == (kept || (!in_layer && !home.name.starts_with("output"))));
        if (kept) CHECK(home.because.starts_with(n < 0 ? "--cpu-moe" : fmt::format("--n-cpu-moe {}", n)));
      }
    }
    // What -ot says comes first.
    o.cpu_moe = true;
    o.n_cpu_moe.reset();
    o.rules = parse_override(R"(blk\.1\.ffn_up_exps=pretend:0)");
    CHECK(Session(o, kernels()).placement().of("blk.1.ffn_up_exps.weight").device == "pretend:0");
  }
  for (const bool all : {true, false}) {
    auto o = options(golden("qwen3").path("f16"), "cpu");
    o.cpu_moe = all;
    if (!all) o.n_cpu_moe = 1;
    o.plan_only = true;
    try {
      Session session(o, kernels());
      FAIL("experts of a dense model were placed");
    } catch (const Error& e) {
      CHECK(e.kind == ErrorKind::usage);
      CHECK(e.where == (all ? "--cpu-moe" : "--n-cpu-moe"));
    }
  }
}

TEST_CASE("a device one byte too small is refused with the numbers") {
  const Golden g = golden("llama_tied");
  auto o = options(g.path("f16"), "cpu");
  o.gpu_layers = 2;
  o.devices = {"pretend:0=1GiB"};
  int64_t need = 0;
  {
    Session session(o, kernels());
    need = session.taken("pretend:0");
  }
  o.devices = {fmt::format("pretend:0={}", need)};
  CHECK_NOTHROW(Session(o, kernels()));
  o.devices = {fmt::format("pretend:0={}", need - 1)};
  o.plan_only = true;  // refused before any memory is taken
  try {
    Session session(o, kernels());
    FAIL("a device one byte too small was accepted");
  } catch (const Error& e) {
    CHECK(e.kind == ErrorKind::memory);
    CHECK(std::string(e.what()).find(std::to_string(need)) != std::string::npos);
    CHECK(std::string(e.what()).find(std::to_string(need - 1)) != std::string::npos);
  }
}

TEST_CASE("a saved plan runs and gives the same bits; an edited one is refused where it is wrong") {
  const Golden g = golden("qwen2");
  auto o = options(g.path("f16"), "cpu");
  o.devices = {"pretend:0=64MiB"};
  o.gpu_layers = 2;
  o.micro_batch = 33;
  o.max_outputs = 33;
  std::string text;
  std::vector<float> want;
  {
    Session session(o, kernels());
    want = logits(session, g.tokens_33);
    const auto& planned = session.planned(33, 33);
    text = to_text(*planned.plan, *planned.graph);
  }
  const std::string path = "saved.plan";
  const auto run = [&](const std::string& plan) {
    write_file(path, plan);
    auto with_plan = o;
    with_plan.gpu_layers.reset();
    with_plan.plan_file = path;
    Session session(with_plan, kernels());
    CHECK(to_text(*session.planned(33, 33).plan, *session.planned(33, 33).graph) == plan);
    return logits(session, g.tokens_33);
  };
  CHECK(same_bits(run(text), want));
  const auto refused = [&](const std::string& from, const std::string& to, const std::string& expected) {
    std::string edited = text;
    REQUIRE(edited.find(from) != std::string::npos);
    edited.replace(edited.find(from), from.size(), to);
    INFO(from << " -> " << to);
    try {
      run(edited);
      FAIL("an edited plan was accepted");
    } catch (const FileError& e) {
      CHECK(std::string(e.what()).find(expected) != std::string::npos);
      CHECK(std::string(e.what()).find("line ") != std::string::npos);
    }
  };
  refused("kerf-plan 1", "kerf-plan 9", "kerf-plan 1");
  refused("run     blk.0.attn_norm", "run     blk.1.attn_norm", "blk.0.attn_norm");
  refused("cpu/rms_norm", "cpu/no_such", "kernel");
  refused("copy    rope_table", "nonsense rope_table", "nonsense");
  refused("cpu -> pretend:0", "cpu -> pretend:7", "nothing lives on pretend:7");
  std::remove(path.c_str());
}

TEST_CASE("plans of the golden models are golden text") {
  // The highest instruction set is named, not detected: the text must be the same on every machine and compiler.
  auto names = golden_names();
  names.insert(names.end(), {"tiny_qwen3_moe_a", "tiny_qwen3_5_b", "tiny_qwen3_next_a"});  // experts, a hybrid, a hybrid with experts
  for (const auto& name : names) {
    const Golden g = golden(name);
    auto o = options(g.path("f16"), "cpu");
    o.policy.isa = Isa::amx;
    o.devices = kDevices;
    o.gpu_layers = 2;
    o.plan_only = true;
    Session session(o, kernels());
    std::string text;
    for (const int64_t tokens : {33, 1}) text += to_text(*session.planned(tokens, 1).plan, *session.planned(tokens, 1).graph);
    const std::string path = std::string(KERF_TEST_DATA) + "/plans/" + name + ".plan";
    const bool same = text == read_file(path);
    CHECK(same);
    if (!same) {
      write_file(name + ".plan", text);
      FAIL_CHECK("the plan of " << name << " differs from " << path << "; the new one is in " << name << ".plan: read the diff, then copy it there");
    }
  }
}
