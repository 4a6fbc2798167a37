// Whole models whose kernels run on emulated GPUs: all there, or in parts beside the host and a second device.
#include <algorithm>

#include "tests/catch.h"
#include "tests/engine/golden.h"

using namespace kerf;
using namespace kerf::test;

namespace {

SessionOptions emulated(const std::string& path, const std::string& device = "emu:0") {
  auto o = options(path, "cpu");
  o.devices = {device + "=256MiB"};
  o.rules = {{".", device, "test"}};
  return o;
}

std::vector<std::string> all_models() {
  auto names = golden_names();
  names.insert(names.end(), tiny_names().begin(), tiny_names().end());
  return names;
}

/// Every step of the plan runs on that device: only inputs are copied to it and logits from it.
void check_all_there(Session& session, const DeviceId& device) {
  for (const auto& step : session.planned(1, 1).plan->steps) {
    if (const auto* run = std::get_if<RunStep>(&step)) CHECK(run->device == device);
    if (const auto* convert = std::get_if<ConvertStep>(&step)) CHECK(convert->device == device);
  }
}

}  // namespace

TEST_CASE("F16 models on an emulated GPU agree with transformers and continue alike") {
  for (const auto& name : all_models()) {
    const Golden g = golden(name);
    INFO(name);
    Session session(emulated(g.path("f16")), kernels());
    check_all_there(session, "emu:0");
    CHECK(nmse(logits(session, g.tokens_33), g.oracle("f16_33")) <= 1e-5);
    CHECK(nmse(logits(session, g.tokens_150), g.oracle("f16_150_last8")) <= 1e-5);
    CHECK(greedy(session, g.tokens_33, 24) == g.greedy_24);
    CHECK(session.counters().replays > 0);  // of one token's launches
  }
}

TEST_CASE("waves of 64 lanes agree too") {
  for (const std::string name : {"llama", "tiny_qwen3_moe_a", "tiny_qwen3_next_a"}) {
    const Golden g = golden(name);
    INFO(name);
    Session session(emulated(g.path("f16"), "emu64:0"), kernels());
    CHECK(nmse(logits(session, g.tokens_33), g.oracle("f16_33")) <= 1e-5);
  }
}

TEST_CASE("quantized models on an emulated GPU are as near the exact oracle as llama.cpp") {
  const Golden g = golden("llama");
  for (const auto& [type, rows] : g.llama_cpp_nmse)
    for (const auto& [which, llama_cpp] : rows) {
      INFO(type << " " << which);
      Session session(emulated(g.path(type)), kernels());
      CHECK(nmse(logits(session, which == "33_last8" ? g.tokens_33 : g.tokens_150), g.oracle(type + "_" + which)) <= llama_cpp);
    }
  for (const auto& name : quantized_expert_names()) {
    const Golden e = golden(name);
    for (const auto& [type, llama_cpp] : e.llama_cpp_median) {
      INFO(name << " " << type);
      Session session(emulated(e.path(type)), kernels());
      CHECK(median_nmse(logits(session, e.tokens_33), e.oracle(type + "_33_all"), session.n_vocab()) <= llama_cpp);
    }
  }
}

TEST_CASE("models in parts on the host and two emulated GPUs") {
  struct Cut {
    std::string what;
    std::vector<Rule> rules;
  };
  const std::vector<Cut> cuts{
      {"a layer", {{R"(blk\.1\.)", "emu:0", "test"}}},
      {"the head", {{"^output", "emu:0", "test"}}},
      {"the embedding", {{"token_embd", "emu:0", "test"}}},
      {"caches and states", {{"^(state|kv)", "emu:0", "test"}}},
      {"feed-forward weights, experts", {{"ffn_", "emu:0", "test"}}},
      {"all but experts", {{"_exps", "cpu", "test"}, {".", "emu:0", "test"}}},
      {"a layer each", {{R"(blk\.0\.)", "emu:0", "test"}, {".", "emu:1", "test"}}},
  };
  for (const std::string name :
       {"llama", "qwen2", "qwen3", "tiny_mixtral_a", "tiny_qwen2_moe_a", "tiny_qwen3_moe_a", "tiny_qwen3_next_a", "tiny_qwen3_5_moe_a"}) {
    const Golden g = golden(name);
    for (const auto& cut : cuts) {
      INFO(name << ", on a GPU: " << cut.what);
      auto o = options(g.path("f16"), "cpu");
      o.devices = {"emu:0=256MiB", "emu:1=256MiB,reverse"};
      o.rules = cut.rules;
      Session session(o, kernels());
      CHECK(nmse(logits(session, g.tokens_33), g.oracle("f16_33")) <= 1e-5);
    }
  }
}

TEST_CASE("greedy ids are those of the logits, on the host, on a GPU, and with the head alone on one") {
  for (const auto& name : all_models()) {
    const Golden g = golden(name);
    const std::vector<Rule> nowhere, head{{"^output", "emu:0", "test"}}, everything{{".", "emu:0", "test"}};
    for (const auto& rules : {nowhere, head, everything}) {
      INFO(name << ", rules: " << rules.size() << (rules.empty() ? "" : rules[0].pattern));
      auto o = options(g.path("f16"), "cpu");
      o.devices = {"emu:0=256MiB"};
      o.rules = rules;
      o.greedy = true;
      Session session(o, kernels());
      REQUIRE(session.result() == PassResult::greedy_ids);
      CHECK(greedy(session, g.tokens_33, 24) == g.greedy_24);
      CHECK_THROWS(session.forward({g.tokens_33.data(), 1}));

      // The ids are all that comes to the host of the logits: 4 bytes a row, from where the head is.
      const DeviceId where = rules.empty() ? kHost : "emu:0";
      for (const int64_t rows : {1, 3}) {
        const auto& [graph, plan] = session.planned(3, rows);
        const Value ids = graph->outputs().at(0);
        CHECK((*graph)[ids].desc == matrix(DType::i32, rows, 1));
        int runs = 0, copies = 0;
        for (const auto& step : plan->steps) {
          if (const auto* run = std::get_if<RunStep>(&step); run && std::holds_alternative<Argmax>(run->problem.op)) {
            ++runs;
            CHECK(run->device == where);
          }
          if (const auto* copy = std::get_if<CopyStep>(&step)) {
            CHECK((*graph)[plan->places[copy->from].value].name != "output");
            if (plan->places[copy->from].value != ids) continue;
            ++copies;
            CHECK(copy->bytes == 4 * rows);
          }
        }
        CHECK(runs == 1);
        CHECK(copies == (rules.empty() ? 0 : 1));
      }
      // A plan for logits is what it is without the wish for ids, but for the last step.
      o.greedy = false;
      Session logits(o, kernels());
      CHECK(logits.result() == PassResult::logits);
      CHECK(logits.planned(1, 1).graph->nodes().size() + 1 == session.planned(1, 1).graph->nodes().size());
    }
  }
}

TEST_CASE("what a GPU is given fits its memory, and nothing is allocated while decoding") {
  const Golden g = golden("llama");
  auto o = emulated(g.path("Q4_K_M"));
  int64_t need = 0;
  {
    Session session(o, kernels());
    need = session.taken("emu:0");
    const int32_t token = 5;
    for (int i = 0; i < 5; ++i) session.forward({&token, 1});
    CHECK(session.taken("emu:0") == need);
  }
  o.devices = {"emu:0=" + std::to_string(need)};
  CHECK_NOTHROW(Session(o, kernels()));
  o.devices = {"emu:0=" + std::to_string(need - 1)};
  CHECK_THROWS(Session(o, kernels()));
  o.greedy = true;  // what is found in pieces of a row, and the ids, are planned like everything else
  o.devices = {"emu:0=256MiB"};
  Session session(o, kernels());
  CHECK(greedy(session, g.tokens_33, 5) == [&] {
    o.greedy = false;
    Session of_logits(o, kernels());
    return greedy(of_logits, g.tokens_33, 5);
  }());
  int64_t planned = 0;
  for (const int64_t tokens : {int64_t{1}, session.micro_batch()})
    planned = std::max(planned, session.planned(tokens, tokens == 1 ? 1 : session.max_outputs()).plan->memory.at("emu:0").total());
  CHECK(session.taken("emu:0") == planned);
}
