// sigmoid_gate in vectors: the exponential is swiglu's. Where one gate is for a whole row, its vector is computed once for a
// stretch, and what remains is a division.
#pragma once
#include "backends/cpu/simd_batch.h"
#include "backends/cpu/simd_elementwise.h"

namespace kerf::cpu {
inline namespace KERF_ISA {

template <class B, class Encoder>
void sigmoid_gate(const Problem&, const Call& call) {
  const TensorView &x = call.in[0], &gate = call.in[1];
  const auto divisor = [](const B& g) { return B(1.f) + xsimd::exp(-g); };
  if (gate.desc.cols() == x.desc.cols())
    return elementwise<Encoder>(call, kExponentialSpan, true, [&](int64_t t, int64_t k, int64_t n, float* y) {
      map<B>(
          y, n, [&](const B& v, const B& g) { return v / divisor(g); }, x.row<float>(t) + k, gate.row<float>(t) + k);
    });
  elementwise<Encoder>(call, kSpanValues, false, [&](int64_t t, int64_t k, int64_t n, float* y) {
    const B all = divisor(B(*gate.row<float>(t)));
    map<B>(
        y, n, [&](const B& v) { return v / all; }, x.row<float>(t) + k);
  });
}

}  // namespace KERF_ISA
}  // namespace kerf::cpu
