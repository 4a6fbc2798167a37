// expert_sum in vectors: a stretch of the sum stays in a register while the slots' rows go by, so that the output is written
// once and never read.
#pragma once
#include "backends/cpu/simd_batch.h"
#include "backends/cpu/simd_elementwise.h"

namespace kerf::cpu {
inline namespace KERF_ISA {

template <class B>
void expert_sum(const Problem&, const Call& call) {
  const TensorView &y = call.in[0], &weights = call.in[1], &out = call.out[0];
  const int64_t U = weights.desc.cols(), E = y.desc.cols();
  for_each_piece(call.pool, out.desc.rows(), E, kSpanValues / U, [&](int64_t t, int64_t begin, int64_t end) {
    const float *w = weights.row<float>(t), *rows = y.row<float>(t * U);
    float* sums = out.row<float>(t);
    int64_t i = begin;
    for (; i + kLanes<B> <= end; i += kLanes<B>) {
      B sum(0.f);
      for (int64_t u = 0; u < U; ++u) sum = Instructions<B>::fma(B(w[u]), B::load_unaligned(rows + u * E + i), sum);
      sum.store_unaligned(sums + i);
    }
    if (i == end) return;
    B sum(0.f);
    for (int64_t u = 0; u < U; ++u) sum = Instructions<B>::fma(B(w[u]), load_part<B>(rows + u * E + i, end - i), sum);
    store_part<B>(sum, sums + i, end - i);
  });
}

}  // namespace KERF_ISA
}  // namespace kerf::cpu
