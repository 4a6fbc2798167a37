// From the keys of a file to rotation angles: linear scaling and YaRN as a model sees them.
#include <cmath>
#include <cstdio>

#include "experiments/io.h"
#include "tests/catch.h"
#include "tests/engine/golden.h"
#include "tests/loaders/tiny_model.h"

using namespace kerf;
using namespace kerf::test;

namespace {

/// The rope table of a tiny model with these keys: op and, at one position, cos and sin [dims].
struct Table {
  RopeTable op{};
  std::vector<float> values{};
};

struct Capture final : Observer {
  std::vector<float> values{};
  void after(const StepEvent& event) override {
    if (event.name == "rope_table") values.assign(event.out.as<float>(), event.out.as<float>() + event.out.desc.size());
  }
};

Table table_of(GgufWriter writer, int32_t position) {
  const std::string path = "rope_scaling.gguf";
  write_file(path, writer.bytes());
  auto o = options(path, "reference");
  o.context = 512;
  Session session(o, kernels());
  Capture capture;
  session.observe(&capture);
  std::vector<int32_t> tokens(static_cast<size_t>(position) + 1, 5);
  session.forward(tokens);
  Table table;
  const auto& planned = session.planned(1, 1);
  for (const auto& node : planned.graph->nodes())
    if (const auto* op = std::get_if<RopeTable>(&node.op)) table.op = *op;
  const auto dims = static_cast<size_t>(table.op.dims);
  table.values.assign(capture.values.end() - static_cast<std::ptrdiff_t>(dims), capture.values.end());
  std::remove(path.c_str());
  return table;
}

}  // namespace

TEST_CASE("linear scaling divides every angle by the factor") {
  GgufWriter writer = tiny_llama();
  writer.text("llama.rope.scaling.type", "linear");
  writer.f32("llama.rope.scaling.factor", 4);
  const Table t = table_of(writer, 10);
  const auto half = static_cast<size_t>(t.op.dims / 2);
  for (size_t i = 0; i < half; ++i) {
    const double angle = 10 / 4.0 * std::pow(10000.0, -2.0 * static_cast<double>(i) / t.op.dims);
    CHECK(t.values[i] == Approx(std::cos(angle)).margin(1e-6));
    CHECK(t.values[half + i] == Approx(std::sin(angle)).margin(1e-6));
  }
}

TEST_CASE("YaRN leaves fast pairs, divides slow ones and scales by its temperature") {
  GgufWriter writer = tiny_llama();
  writer.text("llama.rope.scaling.type", "yarn");
  writer.f32("llama.rope.scaling.factor", 8);
  writer.u32("llama.rope.scaling.original_context_length", 256);
  const Table t = table_of(writer, 37);
  const auto half = static_cast<size_t>(t.op.dims / 2);
  const double magnitude = 1 + 0.1 * std::log(8.0);
  CHECK(t.op.magnitude == Approx(magnitude));
  // Pair 0 turns once in 2 pi positions, 40 times in the training context: above beta_fast = 32, not stretched.
  CHECK(t.values[0] == Approx(magnitude * std::cos(37.0)).margin(1e-5));
  CHECK(t.values[half] == Approx(magnitude * std::sin(37.0)).margin(1e-5));
  // The last pair turns 0.04 times: below beta_slow = 1, stretched by 8.
  const double slow = 37.0 / 8 * std::pow(10000.0, -2.0 * static_cast<double>(half - 1) / t.op.dims);
  CHECK(t.values[half - 1] == Approx(magnitude * std::cos(slow)).margin(1e-5));
  CHECK(t.values[2 * half - 1] == Approx(magnitude * std::sin(slow)).margin(1e-5));
}

TEST_CASE("without a scaling key angles are plain") {
  const Table t = table_of(tiny_llama(), 3);
  CHECK(t.op.freq_scale == 1);
  CHECK(t.op.magnitude == 1);
  CHECK(t.values[0] == Approx(std::cos(3.0)).margin(1e-6));
}
