// delta_gates: g = a log(1 + exp(alpha + dt_bias)), b = sigmoid(beta) (Yang, Kautz, Hatamizadeh 2024; a is -exp(A_log)).
#include <cmath>

#include "backends/reference/definitions.h"

namespace kerf::reference {
namespace {

/// log(1 + exp(x)), which is x to double precision from 40 on and would overflow above 709.
double softplus(double x) { return x > 40 ? x : std::log1p(std::exp(x)); }

void run(const Problem& p, const Call& call) {
  const int64_t H = p.in[0].cols();
  const float *dt_bias = call.in[1].as<const float>(), *a = call.in[2].as<const float>();
  for (int64_t i = 0; i < p.in[0].size(); ++i) {
    call.out[0].as<float>()[i] = static_cast<float>(a[i % H] * softplus(double(call.in[0].as<const float>()[i]) + dt_bias[i % H]));
    call.out[1].as<float>()[i] = static_cast<float>(sigmoid(call.in[3].as<const float>()[i]));
  }
}

}  // namespace

void delta_gates(Registry::Adder registry) {
  registry.add({.op = DeltaGates::name, .note = "the definition", .accepts = [](const Problem&) { return Support{}; }, .run = run});
}

}  // namespace kerf::reference
