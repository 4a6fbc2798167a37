// Whole models against transformers' logits. The smallest defect listed with the golden data, an rms epsilon of 1e-5 for
// 1e-6 in llama, costs 7e-11: the reference is held below that. The f32 path of the cpu backend with an f16 cache can not
// see it (but 1e-4, the smallest of the others); 8-bit activations are held to llama.cpp's own distance.
// The tiny models of experts and hybrids: the reference is within 7e-13 of transformers, in hybrids within 8e-12. The smallest
// defects tried are an rms epsilon ten times too large, 7e-11 in qwen3_moe_a, and in hybrids a rope theta 10 % too large, 3e-9 in
// qwen3_5_b; a wrong order of value heads costs 5e-1, one expert fewer 8e-3, expert weights divided by their sum, or not, 2e-3.
// Their prompts keep every router's choice clear of rounding.
#include <algorithm>

#include "core/error.h"
#include "tests/catch.h"
#include "tests/engine/golden.h"
#include "tests/kernels/tile_emulator.h"

using namespace kerf;
using namespace kerf::test;

TEST_CASE("F16 models agree with transformers and continue alike") {
  for (const auto& name : golden_names()) {
    const Golden g = golden(name);
    for (const std::string backend : {"reference", "cpu"}) {
      INFO(name << " on " << backend);
      Session session(options(g.path("f16"), backend), kernels());
      const double gate = backend == "reference" ? 2e-11 : 5e-6;
      CHECK(nmse(logits(session, g.tokens_33), g.oracle("f16_33")) <= gate);
      CHECK(nmse(logits(session, g.tokens_150), g.oracle("f16_150_last8")) <= gate);
      CHECK(greedy(session, g.tokens_33, 24) == g.greedy_24);
    }
  }
}

TEST_CASE("quantized models agree with the exact oracle") {
  const Golden g = golden("llama");
  for (const auto& [type, rows] : g.llama_cpp_nmse)
    for (const auto& [which, llama_cpp] : rows) {
      const auto& tokens = which == "33_last8" ? g.tokens_33 : g.tokens_150;
      const auto want = g.oracle(type + "_" + which);
      INFO(type << " " << which);
      Session reference(options(g.path(type), "reference"), kernels());
      CHECK(nmse(logits(reference, tokens), want) <= 1e-9);
      Session cpu(options(g.path(type), "cpu"), kernels());
      CHECK(nmse(logits(cpu, tokens), want) <= llama_cpp);
      auto exact = options(g.path(type), "cpu");
      exact.policy.activations = {DType::f32};
      Session floats(exact, kernels());
      CHECK(nmse(logits(floats, tokens), want) <= 5e-6);
    }
}

namespace {

void tiny_models_agree(const std::string& backend, double gate, double hybrid_gate) {
  for (const auto& name : tiny_names()) {
    const Golden g = golden(name);
    INFO(name << " on " << backend);
    Session session(options(g.path("f16"), backend), kernels());
    CHECK(nmse(logits(session, g.tokens_33), g.oracle("f16_33")) <= (g.hybrid ? hybrid_gate : gate));
    CHECK(nmse(logits(session, g.tokens_150), g.oracle("f16_150_last8")) <= (g.hybrid ? hybrid_gate : gate));
    CHECK(greedy(session, g.tokens_33, 24) == g.greedy_24);
  }
}

/// Gated DeltaNet may have one form for a token and another for a prompt: the same sums in another order.
void tiny_models_in_pieces(const std::string& backend, double gate) {
  for (const auto& name : tiny_names()) {
    const Golden g = golden(name);
    Session session(options(g.path("f16"), backend), kernels());
    const auto whole = logits(session, g.tokens_150);
    for (const int64_t chunk : {1, 7, 64}) {
      INFO(name << " on " << backend << " in pieces of " << chunk);
      CHECK(nmse(logits(session, g.tokens_150, chunk), whole) <= gate);
    }
  }
}

}  // namespace

TEST_CASE("tiny models of experts and hybrids agree with transformers on the reference") { tiny_models_agree("reference", 2e-11, 1e-10); }
TEST_CASE("tiny models of experts and hybrids agree with transformers on the cpu") { tiny_models_agree("cpu", 1e-5, 1e-5); }
TEST_CASE("pieces of a prompt give a tiny model's logits on the reference") { tiny_models_in_pieces("reference", 1e-10); }
TEST_CASE("pieces of a prompt give a tiny model's logits on the cpu") { tiny_models_in_pieces("cpu", 1e-5); }

TEST_CASE("quantized models of experts agree with the exact oracle on the reference") {
  for (const auto& name : quantized_expert_names()) {
    const Golden g = golden(name);
    for (const auto& [type, greedy_24] : g.greedy_of) {
      INFO(name << " " << type);
      Session session(options(g.path(type), "reference"), kernels());
      CHECK(nmse(logits(session, g.tokens_33), g.oracle(type + "_33_last8")) <= 1e-9);
      CHECK(nmse(logits(session, g.tokens_150), g.oracle(type + "_150_last4")) <= 1e-9);
      CHECK(greedy(session, g.tokens_33, 24) == greedy_24);
    }
  }
}

TEST_CASE("quantized models of experts on the cpu are as near the oracle as llama.cpp, at the median position") {
  for (const auto& name : quantized_expert_names()) {
    const Golden g = golden(name);
    for (const auto& [type, llama_cpp] : g.llama_cpp_median) {
      INFO(name << " " << type);
      const auto want = g.oracle(type + "_33_all");
      Session session(options(g.path(type), "cpu"), kernels());
      CHECK(median_nmse(logits(session, g.tokens_33), want, session.n_vocab()) <= llama_cpp);
      // With f32 activations an f16 cache alone can make two experts change places: these prompts were not chosen for clear routes.
      auto exact = options(g.path(type), "cpu");
      exact.policy.activations = {DType::f32};
      Session floats(exact, kernels());
      CHECK(median_nmse(logits(floats, g.tokens_33), want, floats.n_vocab()) <= 5e-6);
    }
  }
}

TEST_CASE("feeding a prompt in pieces does not change its logits") {
  for (const auto& name : golden_names()) {
    const Golden g = golden(name);
    // One kernel for every batch: not a bit may differ. By default the cpu has kernels of its own for small batches, with
    // roundings of their own: 1.1e-6 of qwen3's logits, the most of the four.
    auto one_kernel = options(g.path("f16"), "cpu");
    one_kernel.policy.activations = {DType::f32};
    one_kernel.policy.isa = std::min(one_kernel.policy.isa, Isa::avx512);
    for (const auto& [o, gate] :
         {std::pair{options(g.path("f16"), "reference"), 1e-10}, std::pair{one_kernel, 0.}, std::pair{options(g.path("f16"), "cpu"), 2e-6}}) {
      Session session(o, kernels());
      const auto whole = logits(session, g.tokens_150);
      for (const int64_t chunk : {1, 7, 64}) {
        INFO(name << " within " << gate << " in pieces of " << chunk);
        CHECK(nmse(logits(session, g.tokens_150, chunk), whole) <= gate);
      }
    }
  }
}

namespace {

struct Run {
  std::string model, type;
  std::vector<DType> activations{};  // empty: the default, the fastest for each batch
  bool repack = true;
};

void same_bits_with_any_threads(const std::vector<Run>& runs) {
  for (const Run& run : runs) {
    const Golden g = golden(run.model);
    std::vector<float> first;
    for (const int threads : {1, 2, 3, 8}) {
      auto o = options(g.path(run.type), "cpu");
      o.threads = threads;
      if (!run.activations.empty()) o.policy.activations = run.activations;
      o.policy.repack = run.repack;
      Session session(o, kernels());
      auto all = logits(session, g.tokens_150);
      for (const int64_t chunk : {1, 7}) {
        const auto pieces = logits(session, g.tokens_33, chunk);
        all.insert(all.end(), pieces.begin(), pieces.end());
      }
      if (first.empty()) first = all;
      INFO(run.model << " " << run.type << " with " << threads << " threads");
      CHECK(same_bits(all, first));
    }
  }
}

}  // namespace

TEST_CASE("the number of threads does not change a bit") {
  same_bits_with_any_threads(
      {{"llama", "Q4_K_M"}, {"llama", "Q4_K_M", {}, false}, {"llama", "Q2_K", {DType::f32}}, {"qwen2", "f16"}, {"qwen2", "f16", {DType::f32}}});
}

TEST_CASE("the number of threads does not change a bit of a model of experts or a hybrid") {
  same_bits_with_any_threads({{"tiny_qwen2_moe_a", "f16"},
                              {"tiny_qwen3_moe_a", "f16", {DType::f32}},
                              {"tiny_qwen3_next_b", "f16"},
                              {"tiny_qwen3_5_b", "f16", {DType::f32}},
                              {"qwen3_moe_kq", "Q4_K_M"},
                              {"qwen3_moe_kq", "Q4_K_M", {}, false},
                              {"qwen3_5_moe_kq", "Q2_K"}});
}

TEST_CASE("every instruction set gives an answer within the gate") {
  const Golden g = golden("llama");
  for (const Isa isa : {Isa::base, Isa::avx2, Isa::avx512, Isa::vnni, Isa::amx}) {
    if (isa > tiles::isa_with_tiles()) continue;
    for (const std::string type : {"f16", "Q4_K_M"}) {
      auto o = options(g.path(type), "cpu");
      o.policy.isa = isa;
      Session session(o, kernels());
      INFO(type << " with " << name_of(isa));
      if (type == "f16")
        CHECK(nmse(logits(session, g.tokens_33), g.oracle("f16_33")) <= 5e-6);
      else
        CHECK(nmse(logits(session, g.tokens_33), g.oracle("Q4_K_M_33_last8")) <= g.llama_cpp_nmse.at(type).at("33_last8"));
    }
  }
}

TEST_CASE("every instruction set gives an answer within the gate for models of experts and hybrids") {
  for (const Isa isa : {Isa::base, Isa::avx2, Isa::avx512, Isa::vnni, Isa::amx}) {
    if (isa > tiles::isa_with_tiles()) continue;
    for (const auto& name : tiny_names()) {
      const Golden g = golden(name);
      auto o = options(g.path("f16"), "cpu");
      o.policy.isa = isa;
      Session session(o, kernels());
      INFO(name << " with " << name_of(isa));
      CHECK(nmse(logits(session, g.tokens_33), g.oracle("f16_33")) <= 1e-5);
    }
    const Golden g = golden("qwen3_moe_kq");
    auto o = options(g.path("Q4_K_M"), "cpu");
    o.policy.isa = isa;
    Session session(o, kernels());
    INFO("qwen3_moe_kq Q4_K_M with " << name_of(isa));
    CHECK(median_nmse(logits(session, g.tokens_33), g.oracle("Q4_K_M_33_all"), session.n_vocab()) <= g.llama_cpp_median.at("Q4_K_M"));
  }
}

TEST_CASE("read mode gives the same bits as mapping") {
  const Golden g = golden("qwen3");
  auto o = options(g.path("f16"), "cpu");
  Session mapped(o, kernels());
  o.file.access = gguf::Access::read;
  Session read(o, kernels());
  CHECK(same_bits(logits(mapped, g.tokens_33), logits(read, g.tokens_33)));
}

TEST_CASE("too many tokens are an error with both numbers, before anything runs") {
  const Golden g = golden("llama");
  auto o = options(g.path("f16"), "cpu");
  o.context = 100;
  Session session(o, kernels());
  try {
    logits(session, g.tokens_150);
    FAIL("150 tokens went into a context of 100");
  } catch (const Error& e) {
    CHECK(e.kind == ErrorKind::memory);
    CHECK(std::string(e.what()).find("150") != std::string::npos);
    CHECK(std::string(e.what()).find("100") != std::string::npos);
  }
  CHECK(session.position() == 0);
}
