// router in vectors, where the weights need the sum over all experts: exponentials are taken a vector at a time. Logits are
// compared at once with the least of the chosen too, but that gains nothing: the time goes into the few that are larger.
#pragma once
#include "backends/cpu/router_select.h"
#include "backends/cpu/simd_batch.h"
#include "backends/cpu/simd_loop.h"
#include "backends/cpu/simd_rung.h"

namespace kerf::cpu {
inline namespace KERF_ISA {

template <class B>
void select_largest(const float* logits, int64_t X, Largest& best) {
  int64_t e = 0;
  for (; e < best.used; ++e) best.offer(static_cast<int32_t>(e), logits[e]);
  for (; e < X; e += kLanes<B>) {
    const int64_t n = X - e < kLanes<B> ? X - e : kLanes<B>;
    if (n == kLanes<B> && !xsimd::any(B::load_unaligned(logits + e) > B(best.values[best.used - 1]))) continue;
    for (int64_t i = e; i < e + n; ++i) best.offer(static_cast<int32_t>(i), logits[i]);
  }
}

template <class B>
float sum_of_exponentials(const float* x, int64_t n, float largest) {
  const auto lanes = [&](const B& v) { return xsimd::exp(v - B(largest)); };
  B sum(0.f);
  int64_t i = 0;
  for (; i + kLanes<B> <= n; i += kLanes<B>) sum = sum + lanes(B::load_unaligned(x + i));
  float all = xsimd::hadd(sum);
  if (i == n) return all;
  alignas(64) float rest[B::size];
  lanes(load_part<B>(x + i, n - i)).store_aligned(rest);
  for (int64_t j = 0; j < n - i; ++j) all += rest[j];
  return all;
}

template <class B>
void router(const Problem& p, const Call& call) {
  const Router& op = router_of(p);
  const TensorView& logits = call.in[0];
  const int64_t X = logits.desc.cols();
  for_each_rows(call.pool, logits.desc.rows(), 4 * X, [&](int64_t begin, int64_t end) {
    for (int64_t t = begin; t < end; ++t) {
      float* w = call.out[1].row<float>(t);
      Largest best{call.out[0].row<int32_t>(t), w, op.used};
      select_largest<B>(logits.row<float>(t), X, best);
      const float largest = w[0], all = sum_of_exponentials<B>(logits.row<float>(t), X, largest);
      map<B>(
          w, op.used, [m = B(largest)](const B& v) { return xsimd::exp(v - m); }, w);
      float chosen = 0;
      for (int u = 0; u < op.used; ++u) chosen += w[u];
      map<B>(
          w, op.used, [d = B(router_divisor(op.renormalize, all, chosen))](const B& v) { return v / d; }, w);
    }
  });
}

}  // namespace KERF_ISA
}  // namespace kerf::cpu
