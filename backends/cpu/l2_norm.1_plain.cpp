// l2_norm, rung 1: the definition. The sum of squares is kept in double, so that the only roundings are the last two.
#include <cmath>

#include "backends/cpu/simd_loop.h"
#include "backends/cpu/simd_rung.h"

namespace kerf::cpu {
namespace {

void run(const Problem& p, const Call& call) {
  const L2Norm& op = l2_norm_of(p);
  const int64_t n = op.group;
  for_each_rows(call.pool, call.in[0].desc.size() / n, n, [&](int64_t begin, int64_t end) {
    for (int64_t g = begin; g < end; ++g) {
      const float* x = call.in[0].as<float>() + g * n;
      float* out = call.out[0].as<float>() + g * n;
      double sum = 0;
      for (int64_t i = 0; i < n; ++i) sum += static_cast<double>(x[i]) * x[i];
      const auto scale = static_cast<float>(1 / std::sqrt(sum + static_cast<double>(op.eps)));
      for (int64_t i = 0; i < n; ++i) out[i] = x[i] * scale;
    }
  });
}

}  // namespace

void l2_norm_1_plain(Registry::Adder r);
void l2_norm_1_plain(Registry::Adder r) {
  add_rung(r, {.op = L2Norm::name,
               .variant = "1_plain",
               .note = "one pass for the sum of squares in double, one to scale",
               .preference = 1,
               .accepts = accepts_all,
               .run = run});
}

}  // namespace kerf::cpu
