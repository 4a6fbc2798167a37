// rms_norm, rung 1: the definition. The sum of squares is kept in double, so that the only roundings are the last three.
#include <cmath>

#include "backends/cpu/simd_loop.h"
#include "backends/cpu/simd_rung.h"

namespace kerf::cpu {
namespace {

void normalise(const float* x, const float* w, float* out, int64_t n, double eps) {
  double sum = 0;
  for (int64_t i = 0; i < n; ++i) sum += static_cast<double>(x[i]) * x[i];
  const auto scale = static_cast<float>(1 / std::sqrt(sum / static_cast<double>(n) + eps));
  for (int64_t i = 0; i < n; ++i) out[i] = x[i] * scale * w[i];
}

void run(const Problem& p, const Call& call) {
  const TensorView &x = call.in[0], &out = call.out[0];
  const auto* w = call.in[1].as<float>();
  const int64_t cols = x.desc.cols(), n = call.in[1].desc.cols();
  const double eps = rms_norm_of(p).eps;
  for_each_rows(call.pool, x.desc.rows(), cols, [&](int64_t begin, int64_t end) {
    for (int64_t t = begin; t < end; ++t)
      for (int64_t g = 0; g < cols; g += n) normalise(x.row<float>(t) + g, w, out.row<float>(t) + g, n, eps);
  });
}

}  // namespace

void rms_norm_1_plain(Registry::Adder r);
void rms_norm_1_plain(Registry::Adder r) {
  add_rung(r, {.op = RmsNorm::name,
               .variant = "1_plain",
               .note = "one pass for the sum of squares in double, one to scale",
               .preference = 1,
               .accepts = accepts_all,
               .run = run});
}

}  // namespace kerf::cpu
