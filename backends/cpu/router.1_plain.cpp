// router, rung 1: the largest logits by router_select.h, then exponentials of these alone if their sum is all that matters.
#include <cmath>

#include "backends/cpu/router_select.h"
#include "backends/cpu/simd_loop.h"
#include "backends/cpu/simd_rung.h"

namespace kerf::cpu {
namespace {

void run(const Problem& p, const Call& call) {
  const Router& op = router_of(p);
  const int64_t X = call.in[0].desc.cols();
  for_each_rows(call.pool, call.in[0].desc.rows(), 8 * X, [&](int64_t begin, int64_t end) {
    for (int64_t t = begin; t < end; ++t) {
      const float* logits = call.in[0].row<float>(t);
      float* w = call.out[1].row<float>(t);
      Largest best{call.out[0].row<int32_t>(t), w, op.used};
      for (int64_t e = 0; e < X; ++e) best.offer(static_cast<int32_t>(e), logits[e]);
      const float largest = w[0];
      double all = 0, chosen = 0;
      if (needs_all(op.renormalize, X, op.used))
        for (int64_t e = 0; e < X; ++e) all += static_cast<double>(std::exp(logits[e] - largest));
      for (int u = 0; u < op.used; ++u) chosen += static_cast<double>(w[u] = std::exp(w[u] - largest));
      const float divisor = router_divisor(op.renormalize, static_cast<float>(all), static_cast<float>(chosen));
      for (int u = 0; u < op.used; ++u) w[u] /= divisor;
    }
  });
}

}  // namespace

void router_1_plain(Registry::Adder r);
void router_1_plain(Registry::Adder r) {
  add_rung(
      r, {.op = Router::name,
          .variant = "1_plain",
          .note =
              "a short list of the largest instead of a sort; the softmax over all experts cancels where the chosen weights are divided by their sum",
          .preference = 1,
          .accepts = accepts_all,
          .run = run});
}

}  // namespace kerf::cpu
