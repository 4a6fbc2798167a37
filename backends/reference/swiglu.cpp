// swiglu: gate / (1 + exp(-gate)) * up (Shazeer 2020).
#include <cmath>

#include "backends/reference/definitions.h"

namespace kerf::reference {

double swiglu(double gate, double up) { return gate / (1 + std::exp(-gate)) * up; }

void swiglu(Registry::Adder registry) {
  registry.add({.op = SwiGlu::name,
                .note = "the definition",
                .accepts = [](const Problem&) { return Support{}; },
                .run =
                    [](const Problem&, const Call& call) {
                      const float *gate = call.in[0].as<const float>(), *up = call.in[1].as<const float>();
                      for (int64_t i = 0; i < call.out[0].desc.size(); ++i) call.out[0].as<float>()[i] = static_cast<float>(swiglu(gate[i], up[i]));
                    }});
}

}  // namespace kerf::reference
