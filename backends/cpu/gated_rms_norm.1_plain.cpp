// gated_rms_norm, rung 1: rms_norm.1_plain, then swiglu.1_plain with the result as its other factor.
#include <cmath>

#include "backends/cpu/simd_loop.h"
#include "backends/cpu/simd_rung.h"

namespace kerf::cpu {
namespace {

void run(const Problem& p, const Call& call) {
  const auto* w = call.in[1].as<float>();
  const int64_t n = call.in[1].desc.cols();
  const double eps = static_cast<double>(gated_rms_norm_of(p).eps);
  for_each_rows(call.pool, call.in[0].desc.size() / n, 8 * n, [&](int64_t begin, int64_t end) {
    for (int64_t g = begin; g < end; ++g) {
      const float *x = call.in[0].as<float>() + g * n, *z = call.in[2].as<float>() + g * n;
      float* out = call.out[0].as<float>() + g * n;
      double sum = 0;
      for (int64_t i = 0; i < n; ++i) sum += static_cast<double>(x[i]) * x[i];
      const auto scale = static_cast<float>(1 / std::sqrt(sum / static_cast<double>(n) + eps));
      for (int64_t i = 0; i < n; ++i) out[i] = x[i] * scale * w[i] * (z[i] / (1 + std::exp(-z[i])));
    }
  });
}

}  // namespace

void gated_rms_norm_1_plain(Registry::Adder r);
void gated_rms_norm_1_plain(Registry::Adder r) {
  add_rung(r, {.op = GatedRmsNorm::name,
               .variant = "1_plain",
               .note = "sum of squares in double, then one library exp per value",
               .preference = 1,
               .accepts = accepts_all,
               .run = run});
}

}  // namespace kerf::cpu
