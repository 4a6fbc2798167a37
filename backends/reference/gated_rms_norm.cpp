// gated_rms_norm: the RMS norm of every group, times silu(z): norm first, gate after.
#include <cmath>

#include "backends/reference/definitions.h"

namespace kerf::reference {
namespace {

void run(const Problem& p, const Call& call) {
  const auto &x = call.in[0], &w = call.in[1], &z = call.in[2];
  const int64_t n = w.desc.cols();
  const double eps = std::get<GatedRmsNorm>(p.op).eps;
  for (int64_t g = 0; g < x.desc.size() / n; ++g) {
    const float* v = x.as<const float>() + g * n;
    double squares = 0;
    for (int64_t i = 0; i < n; ++i) squares += double(v[i]) * v[i];
    const double root = std::sqrt(squares / static_cast<double>(n) + eps);
    for (int64_t i = 0; i < n; ++i)
      call.out[0].as<float>()[g * n + i] = static_cast<float>(swiglu(z.as<const float>()[g * n + i], v[i] / root * w.as<const float>()[i]));
  }
}

}  // namespace

void gated_rms_norm(Registry::Adder registry) {
  registry.add({.op = GatedRmsNorm::name, .note = "the definition", .accepts = [](const Problem&) { return Support{}; }, .run = run});
}

}  // namespace kerf::reference
