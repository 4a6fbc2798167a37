// swiglu in vectors: exp is xsimd's (argument reduced to [-ln2/2, ln2/2], a polynomial, then a change of the exponent;
// Cody & Waite's scheme), within one or two units in the last place, for 8 or 16 values at a time.
#pragma once
#include "backends/cpu/simd_batch.h"
#include "backends/cpu/simd_elementwise.h"

namespace kerf::cpu {
inline namespace KERF_ISA {

template <class B>
inline B silu(const B& x) {
  return x / (B(1.f) + xsimd::exp(-x));
}

template <class B>
inline void silu_times(const float* gate, const float* up, float* out, int64_t n) {
  map<B>(
      out, n, [](const B& g, const B& u) { return silu(g) * u; }, gate, up);
}

template <class B, class Encoder>
void swiglu(const Problem&, const Call& call) {
  const TensorView &gate = call.in[0], &up = call.in[1];
  elementwise<Encoder>(call, kExponentialSpan, true,
                       [&](int64_t t, int64_t k, int64_t n, float* y) { silu_times<B>(gate.row<float>(t) + k, up.row<float>(t) + k, y, n); });
}

}  // namespace KERF_ISA
}  // namespace kerf::cpu
