// l2_norm in vectors: the sum of squares is simd_norm.h's, then one product per value.
#pragma once
#include "backends/cpu/simd_norm.h"

namespace kerf::cpu {
inline namespace KERF_ISA {

template <class B>
void l2_norm(const Problem& p, const Call& call) {
  const TensorView& x = call.in[0];
  const L2Norm& op = l2_norm_of(p);
  const auto root = [eps = static_cast<double>(op.eps)](double squares) { return static_cast<float>(1 / std::sqrt(squares + eps)); };
  norm_f32<B>(call, op.group, 1, root, [&](int64_t t, int64_t k, int64_t, int64_t m, float scale, float* y) {
    map<B>(
        y, m, [s = B(scale)](const B& v) { return v * s; }, x.row<float>(t) + k);
  });
}

}  // namespace KERF_ISA
}  // namespace kerf::cpu
