// delta_gates, rung 1: log(1 + exp(x)) = max(x, 0) + log1p(exp(-|x|)), whose exponential is at most 1 and can not overflow.
#include <algorithm>
#include <cmath>

#include "backends/cpu/simd_loop.h"
#include "backends/cpu/simd_rung.h"

namespace kerf::cpu {
namespace {

void run(const Problem&, const Call& call) {
  const TensorView &alpha = call.in[0], &beta = call.in[3];
  const float *dt_bias = call.in[1].as<float>(), *a = call.in[2].as<float>();
  const int64_t H = alpha.desc.cols();
  for_each_rows(call.pool, alpha.desc.rows(), 64 * H, [&](int64_t begin, int64_t end) {
    for (int64_t t = begin; t < end; ++t)
      for (int64_t h = 0; h < H; ++h) {
        const float x = alpha.row<float>(t)[h] + dt_bias[h];
        call.out[0].row<float>(t)[h] = a[h] * (std::max(x, 0.f) + std::log1p(std::exp(-std::fabs(x))));
        call.out[1].row<float>(t)[h] = 1 / (1 + std::exp(-beta.row<float>(t)[h]));
      }
  });
}

}  // namespace

void delta_gates_1_plain(Registry::Adder r);
void delta_gates_1_plain(Registry::Adder r) {
  add_rung(r, {.op = DeltaGates::name,
               .variant = "1_plain",
               .note = "three library functions per head and token",
               .preference = 1,
               .accepts = accepts_all,
               .run = run});
}

}  // namespace kerf::cpu
