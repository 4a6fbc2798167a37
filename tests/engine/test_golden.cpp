// Whole models against transformers' logits. The smallest defect listed with the golden data, an rms epsilon of 1e-5 for
// 1e-6 in llama, costs 7e-11: the reference is held below that. The f32 path of the cpu backend with an f16 cache can not
// see it (but 1e-4, the smallest of the others); 8-bit activations are held to llama.cpp's own distance.
#include <algorithm>

#include "core/error.h"
#include "tests/catch.h"
#include "tests/engine/golden.h"
#include "tests/kernels/tile_emulator.h"

using namespace kerf;
using namespace kerf::test;

namespace {

std::vector<int32_t> greedy(Session& session, const std::vector<int32_t>& prompt, size_t n) {
  session.rewind(0);
  std::vector<int32_t> ids;
  std::vector<float> logits = session.forward(prompt);
  while (true) {
    ids.push_back(static_cast<int32_t>(std::max_element(logits.begin(), logits.end()) - logits.begin()));
    if (ids.size() == n) return ids;
    logits = session.forward({&ids.back(), 1});
  }
}

}  // namespace

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

TEST_CASE("the number of threads does not change a bit") {
  struct Run {
    std::string path;
    std::vector<DType> activations;  // empty: the default, the fastest for each batch
    bool repack = true;
  };
  const Golden llama = golden("llama"), qwen2 = golden("qwen2");
  for (const Run& run : {Run{llama.path("Q4_K_M"), {}}, Run{llama.path("Q4_K_M"), {}, false}, Run{llama.path("Q2_K"), {DType::f32}},
                         Run{qwen2.path("f16"), {}}, Run{qwen2.path("f16"), {DType::f32}}}) {
    std::vector<float> first;
    for (const int threads : {1, 2, 3, 8}) {
      auto o = options(run.path, "cpu");
      o.threads = threads;
      if (!run.activations.empty()) o.policy.activations = run.activations;
      o.policy.repack = run.repack;
      Session session(o, kernels());
      auto all = logits(session, qwen2.tokens_150);
      for (const int64_t chunk : {1, 7}) {
        const auto pieces = logits(session, qwen2.tokens_33, chunk);
        all.insert(all.end(), pieces.begin(), pieces.end());
      }
      if (first.empty()) first = all;
      INFO(run.path << " with " << threads << " threads");
      CHECK(same_bits(all, first));
    }
  }
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
