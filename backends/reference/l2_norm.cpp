// l2_norm: every group v of columns becomes v / sqrt(sum(v^2) + eps), as Gated DeltaNet normalises queries and keys.
#include <cmath>

#include "core/kernel.h"

namespace kerf::reference {
namespace {

void run(const Problem& p, const Call& call) {
  const auto& op = std::get<L2Norm>(p.op);
  const int64_t n = op.group;
  for (int64_t g = 0; g < p.in[0].size() / n; ++g) {
    const float* v = call.in[0].as<const float>() + g * n;
    double squares = 0;
    for (int64_t i = 0; i < n; ++i) squares += double(v[i]) * v[i];
    const double root = std::sqrt(squares + op.eps);
    for (int64_t i = 0; i < n; ++i) call.out[0].as<float>()[g * n + i] = static_cast<float>(v[i] / root);
  }
}

}  // namespace

void l2_norm(Registry::Adder registry) {
  registry.add({.op = L2Norm::name, .note = "the definition", .accepts = [](const Problem&) { return Support{}; }, .run = run});
}

}  // namespace kerf::reference
