#include "tests/engine/toy_graph.h"

#include "backends/backends.h"

namespace kerf::test {

Graph toy_graph(int64_t tokens) {
  Graph g;
  const Value ids = g.leaf(Kind::input, "tokens", vector_of(DType::i32, tokens));
  const Value table = g.leaf(Kind::weight, "embed.weight", matrix(DType::f32, 10, 32));
  Value x = g.append(Rows{}, {table, ids});
  for (const std::string layer : {"blk.0", "blk.1"}) {
    const auto scope = g.scope(layer);
    const Value w = g.leaf(Kind::weight, layer + ".w.weight", matrix(DType::f32, 32, 32));
    const Value y = g.append(MatMul{}, {x, w});
    x = g.append(Add{}, {x, y});
  }
  const Value head = g.leaf(Kind::weight, "output.weight", matrix(DType::f32, 10, 32));
  g.output(g.append(MatMul{}, {x, head}));
  return g;
}

const Registry& reference_kernels() {
  static const Registry registry = [] {
    Registry r;
    fill_reference(r);
    return r;
  }();
  return registry;
}

KernelPolicy reference_policy() { return {.backends = {"reference"}, .activations = {DType::f32}}; }

}  // namespace kerf::test
