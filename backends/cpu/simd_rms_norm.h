// rms_norm in vectors: the sum of squares is simd_norm.h's, then two products per value.
#pragma once
#include "backends/cpu/simd_norm.h"

namespace kerf::cpu {
inline namespace KERF_ISA {

template <class B, class Encoder>
void rms_norm(const Problem& p, const Call& call) {
  const TensorView& x = call.in[0];
  const auto* w = call.in[1].as<float>();
  const int64_t n = call.in[1].desc.cols();
  const RmsScale rms{static_cast<double>(n), static_cast<double>(rms_norm_of(p).eps)};
  norm<B, Encoder>(call, n, 1, rms, [&](int64_t t, int64_t k, int64_t g, int64_t m, float scale, float* y) {
    map<B>(
        y, m, [s = B(scale)](const B& v, const B& weight) { return v * s * weight; }, x.row<float>(t) + k, w + k - g);
  });
}

}  // namespace KERF_ISA
}  // namespace kerf::cpu
