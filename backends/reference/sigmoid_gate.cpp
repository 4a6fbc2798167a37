// sigmoid_gate: x / (1 + exp(-gate)), with one gate per value or one per row.
#include "backends/reference/definitions.h"

namespace kerf::reference {
namespace {

void run(const Problem&, const Call& call) {
  const auto &x = call.in[0], &gate = call.in[1];
  const int64_t E = x.desc.cols(), width = gate.desc.cols();
  for (int64_t i = 0; i < x.desc.size(); ++i)
    call.out[0].as<float>()[i] = static_cast<float>(x.as<const float>()[i] * sigmoid(gate.as<const float>()[width == 1 ? i / E : i]));
}

}  // namespace

void sigmoid_gate(Registry::Adder registry) {
  registry.add({.op = SigmoidGate::name, .note = "the definition", .accepts = [](const Problem&) { return Support{}; }, .run = run});
}

}  // namespace kerf::reference
