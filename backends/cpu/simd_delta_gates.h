// delta_gates in vectors. log(1 + exp(x)) = max(x, 0) + log(1 + exp(-|x|)): the exponential is at most 1, so nothing overflows
// and no case needs a branch; log1p is xsimd's polynomial.
#pragma once
#include "backends/cpu/simd_batch.h"
#include "backends/cpu/simd_loop.h"
#include "core/kernel.h"

namespace kerf::cpu {
inline namespace KERF_ISA {

template <class B>
void delta_gates(const Problem&, const Call& call) {
  const TensorView &alpha = call.in[0], &beta = call.in[3];
  const float *dt_bias = call.in[1].as<float>(), *a = call.in[2].as<float>();
  const int64_t H = alpha.desc.cols();
  const auto decay = [](const B& x, const B& dt, const B& rate) {
    const B sum = x + dt;
    return rate * (xsimd::max(sum, B(0.f)) + xsimd::log1p(xsimd::exp(-xsimd::abs(sum))));
  };
  const auto sigmoid = [](const B& x) { return B(1.f) / (B(1.f) + xsimd::exp(-x)); };
  for_each_rows(call.pool, alpha.desc.rows(), 16 * H, [&](int64_t begin, int64_t end) {  // three functions of ten operations and more
    for (int64_t t = begin; t < end; ++t) {
      map<B>(call.out[0].row<float>(t), H, decay, alpha.row<float>(t), dt_bias, a);
      map<B>(call.out[1].row<float>(t), H, sigmoid, beta.row<float>(t));
    }
  });
}

}  // namespace KERF_ISA
}  // namespace kerf::cpu
