// What is done with a tile of sums of an expert, in vectors of an xsimd batch B.
#pragma once
#include "backends/cpu/experts.h"
#include "backends/cpu/simd_batch.h"
#include "backends/cpu/simd_swiglu.h"

namespace kerf::cpu {
inline namespace KERF_ISA {

/// y += scale x.
template <class B>
void add_scaled(const float* x, float scale, float* y, int64_t n) {
  map<B>(
      y, n, [s = B(scale)](const B& a, const B& b) { return Instructions<B>::fma(a, s, b); }, x, y);
}

template <class B, class Encoder>
ExpertCode expert_code(RowsFn (*few)(DType), RowsFn (*many)(DType)) {
  return {few, many, silu_times<B>, add_scaled<B>,
          [](const float* x, int64_t n, int8_t* q, float* d, float* sum) { Encoder::groups(x, n / 16, q, d, sum); }};
}

}  // namespace KERF_ISA
}  // namespace kerf::cpu
