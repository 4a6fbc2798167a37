// gated_rms_norm in vectors: rms_norm, with swiglu's silu of the gate multiplied in while the value is in a register.
#pragma once
#include "backends/cpu/simd_norm.h"
#include "backends/cpu/simd_swiglu.h"

namespace kerf::cpu {
inline namespace KERF_ISA {

template <class B, class Encoder>
void gated_rms_norm(const Problem& p, const Call& call) {
  const TensorView &x = call.in[0], &z = call.in[2];
  const auto* w = call.in[1].as<float>();
  const int64_t n = call.in[1].desc.cols();
  const RmsScale rms{static_cast<double>(n), static_cast<double>(gated_rms_norm_of(p).eps)};
  norm<B, Encoder>(call, n, kSpanValues / kExponentialSpan, rms, [&](int64_t t, int64_t k, int64_t g, int64_t m, float scale, float* y) {
    const auto value = [s = B(scale)](const B& v, const B& weight, const B& gate) { return v * s * weight * silu(gate); };
    map<B>(y, m, value, x.row<float>(t) + k, w + k - g, z.row<float>(t) + k);
  });
}

}  // namespace KERF_ISA
}  // namespace kerf::cpu
