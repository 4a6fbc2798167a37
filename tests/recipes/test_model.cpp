// The recipe's model: bound to a file, planned and run on one device and on two, compared with its formula in plain loops.
#include <cmath>

#include "backends/backends.h"
#include "core/error.h"
#include "core/executor.h"
#include "core/threadpool.h"
#include "tests/catch.h"
#include "tests/loaders/tiny_model.h"
#include "tests/recipes/pebble.h"

namespace kerf {
namespace test {
namespace {

const float* weights(const gguf::File& file, const char* name) { return reinterpret_cast<const float*>(file.data(*file.tensor(name)).data()); }

/// y[n] = sum_k w[n][k] x[k]
std::vector<double> times(const float* w, size_t rows, const std::vector<double>& x) {
  std::vector<double> y(rows);
  for (size_t n = 0; n < rows; ++n)
    for (size_t k = 0; k < x.size(); ++k) y[n] += double(w[n * x.size() + k]) * x[k];
  return y;
}
std::vector<double> norm(const float* w, double eps, std::vector<double> x) {
  double squares = 0;
  for (const double v : x) squares += v * v;
  for (size_t i = 0; i < x.size(); ++i) x[i] *= w[i] / std::sqrt(squares / static_cast<double>(x.size()) + eps);
  return x;
}

std::vector<double> logits_by_hand(const gguf::File& file, const HParams& h, int32_t token) {
  const auto E = static_cast<size_t>(h.n_embd), F = static_cast<size_t>(h.n_ff);
  const float* embedding = weights(file, "token_embd.weight") + static_cast<size_t>(token) * E;
  std::vector<double> x(embedding, embedding + E);
  const auto n = norm(weights(file, "blk.0.ffn_norm.weight"), h.rms_eps, x);
  auto gate = times(weights(file, "blk.0.ffn_gate.weight"), F, n);
  const auto up = times(weights(file, "blk.0.ffn_up.weight"), F, n);
  for (size_t i = 0; i < F; ++i) gate[i] = gate[i] / (1 + std::exp(-gate[i])) * up[i];
  const auto down = times(weights(file, "blk.0.ffn_down.weight"), E, gate);
  for (size_t i = 0; i < E; ++i) x[i] += down[i];
  return times(weights(file, "output.weight"), static_cast<size_t>(h.n_vocab), norm(weights(file, "output_norm.weight"), h.rms_eps, x));
}

/// Logits of every token, on the host and one pretend device.
std::vector<float> logits(const gguf::File& file, const Model& model, std::vector<int32_t> tokens, const std::vector<kerf::Rule>& rules) {
  const auto T = static_cast<int64_t>(tokens.size());
  std::vector<int32_t> rows(tokens.size());
  for (size_t t = 0; t < rows.size(); ++t) rows[t] = static_cast<int32_t>(t);
  Registry registry;
  fill_reference(registry);
  const auto graph = std::make_shared<const Graph>(model.graph({.tokens = T, .outputs = T}));
  const auto host = make_device("cpu"), pretend = make_device("pretend:0=1MiB");
  const auto plan = std::make_shared<const Plan>(make_plan(*graph, place(*graph, rules, {"cpu", "pretend:0"}), {.tokens = T, .outputs = T}, registry,
                                                           {.backends = {"reference"}, .activations = {DType::f32}}));
  ThreadPool pool(2);
  Storage storage({host.get(), pretend.get()}, *graph, plan->placement,
                  {.source = [&](const std::string& name) { return file.data(*file.tensor(name)); }}, registry, pool);
  storage.reserve(*plan);
  Program program(graph, plan, registry, storage,
                  {{std::string(inputs::kTokens), reinterpret_cast<std::byte*>(tokens.data())},
                   {std::string(inputs::kOutputRows), reinterpret_cast<std::byte*>(rows.data())}});
  ExecutorCounters counters;
  program.run(pool, counters, {}, {});
  CHECK(counters.copied_bytes == plan->boundary_bytes());
  CHECK((plan->boundary_bytes() > 0) == !rules.empty());
  const TensorView y = program.outputs()[0];
  return {y.as<float>(), y.as<float>() + y.desc.size()};
}

}  // namespace

TEST_CASE("the recipe's model computes its formula, wherever its layer lives") {
  const std::string bytes = tiny_llama().bytes();
  const auto file = gguf::File::from_bytes(std::as_bytes(std::span(bytes.data(), bytes.size())), "tiny");
  const HParams h = read_hparams(file);
  WeightFinder finder(file);
  const auto model = load_pebble(h, finder);
  CHECK(finder.finish().size() == 1);  // the attention weights of the file are not used, and that is said

  const std::vector<int32_t> tokens{7, 0, 299};
  const auto got = logits(file, *model, tokens, {});
  REQUIRE(got.size() == tokens.size() * static_cast<size_t>(h.n_vocab));
  for (size_t t = 0; t < tokens.size(); ++t) {
    const auto want = logits_by_hand(file, h, tokens[t]);
    for (size_t v = 0; v < want.size(); ++v) CHECK(got[t * want.size() + v] == Approx(want[v]).epsilon(1e-5).margin(1e-6));
  }
  CHECK(logits(file, *model, tokens, {{R"(^blk\.)", "pretend:0", "test"}}) == got);
  CHECK(logits(file, *model, tokens, {{"^output", "pretend:0", "test"}}) == got);
}

TEST_CASE("the recipe's model refuses a file of another shape with the tensor's name") {
  GgufWriter writer = tiny_llama();
  writer.tensor("blk.0.ffn_up.weight").ne = {64, 32};
  const std::string bytes = writer.bytes();
  const auto file = gguf::File::from_bytes(std::as_bytes(std::span(bytes.data(), bytes.size())), "tiny");
  WeightFinder finder(file);
  try {
    load_pebble(read_hparams(file), finder);
    FAIL("a transposed weight was accepted");
  } catch (const FileError& e) {
    CHECK(std::string(e.what()).find("blk.0.ffn_up.weight: expected [32,64], got [64,32]") != std::string::npos);
  }
}

}  // namespace test
}  // namespace kerf
