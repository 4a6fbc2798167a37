// rms_norm: every group v of E columns becomes v / sqrt(mean(v^2) + eps) * w (Zhang & Sennrich 2019).
#include <cmath>

#include "core/kernel.h"

namespace kerf::reference {
namespace {

void run(const Problem& p, const Call& call) {
  const auto &x = call.in[0], &w = call.in[1], &out = call.out[0];
  const int64_t E = w.desc.cols(), groups = x.desc.size() / E;
  const double eps = std::get<RmsNorm>(p.op).eps;
  for (int64_t g = 0; g < groups; ++g) {
    const float* v = x.as<const float>() + g * E;
    double squares = 0;
    for (int64_t e = 0; e < E; ++e) squares += double(v[e]) * v[e];
    const double root = std::sqrt(squares / static_cast<double>(E) + eps);
    for (int64_t e = 0; e < E; ++e) out.as<float>()[g * E + e] = static_cast<float>(v[e] / root * w.as<const float>()[e]);
  }
}

}  // namespace

void rms_norm(Registry::Adder registry) {
  registry.add({.op = RmsNorm::name, .note = "the definition", .accepts = [](const Problem&) { return Support{}; }, .run = run});
}

}  // namespace kerf::reference
