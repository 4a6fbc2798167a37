// expert_sum, rung 1: slot by slot into the output, in the order of the slots.
#include "backends/cpu/simd_loop.h"
#include "backends/cpu/simd_rung.h"

namespace kerf::cpu {
namespace {

void run(const Problem&, const Call& call) {
  const TensorView &y = call.in[0], &weights = call.in[1], &out = call.out[0];
  const int64_t U = weights.desc.cols(), E = y.desc.cols();
  for_each_rows(call.pool, out.desc.rows(), U * E, [&](int64_t begin, int64_t end) {
    for (int64_t t = begin; t < end; ++t) {
      float* sum = out.row<float>(t);
      for (int64_t i = 0; i < E; ++i) sum[i] = weights.row<float>(t)[0] * y.row<float>(t * U)[i];
      for (int64_t u = 1; u < U; ++u)
        for (int64_t i = 0; i < E; ++i) sum[i] += weights.row<float>(t)[u] * y.row<float>(t * U + u)[i];
    }
  });
}

}  // namespace

void expert_sum_1_plain(Registry::Adder r);
void expert_sum_1_plain(Registry::Adder r) {
  add_rung(r, {.op = ExpertSum::name,
               .variant = "1_plain",
               .note = "one row after the other is added to the output, which is read and written for each",
               .preference = 1,
               .accepts = accepts_all,
               .run = run});
}

}  // namespace kerf::cpu
