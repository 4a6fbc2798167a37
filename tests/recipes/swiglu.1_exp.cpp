// swiglu, recipe: silu(g) * up with silu(g) = g / (1 + exp(-g)). Where exp overflows the quotient is the right zero.
#include <cmath>

#include "core/kernel.h"
#include "core/threadpool.h"

namespace kerf::recipe {
namespace {

void run(const Problem&, const Call& call) {
  const TensorView &gate = call.in[0], &up = call.in[1], &out = call.out[0];  // all [T, F]
  call.pool.parallel_for(out.desc.rows(), [&](int64_t t) {
    const float *g = gate.row<const float>(t), *u = up.row<const float>(t);
    float* y = out.row<float>(t);
    for (int64_t i = 0; i < out.desc.cols(); ++i) y[i] = g[i] / (1 + std::exp(-g[i])) * u[i];
  });
}

}  // namespace

void swiglu_1_exp(Registry::Adder registry) {
  registry.add({.op = SwiGlu::name,
                .variant = "1_exp",
                .note = "one library exp per value, one task per row",
                .preference = 1,
                .accepts = [](const Problem& p) { return require(p.in[0].cols() > 0, "there are no columns"); },
                .run = run});
}

}  // namespace kerf::recipe
