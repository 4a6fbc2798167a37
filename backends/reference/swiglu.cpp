// swiglu: gate / (1 + exp(-gate)) * up (Shazeer 2020).
#include <cmath>

#include "core/kernel.h"

namespace kerf::reference {
namespace {

void run(const Problem&, const Call& call) {
  const float *gate = call.in[0].as<const float>(), *up = call.in[1].as<const float>();
  for (int64_t i = 0; i < call.out[0].desc.size(); ++i)
    call.out[0].as<float>()[i] = static_cast<float>(gate[i] / (1 + std::exp(-double(gate[i]))) * up[i]);
}

}  // namespace

void swiglu(Registry::Adder registry) {
  registry.add({.op = SwiGlu::name, .note = "the definition", .accepts = [](const Problem&) { return Support{}; }, .run = run});
}

}  // namespace kerf::reference
