// How fast attention's exp runs (attention/flash.h): L1-resident scores, summed as a softmax sums them.
#pragma once
#include "attention/flash.h"

namespace kerf::roof {
inline namespace KERF_ISA {

/// L: attention's vector type with L::add and L::total(v), the sum of its lanes. x is a multiple of 64 values.
template <attention::Lanes L>
float sum_of_exp(const float* x, int64_t n) {
  constexpr int kVectors = 64 / static_cast<int>(L::width);
  typename L::V sums[kVectors];  // apart, so that the additions do not wait for one another
  for (auto& s : sums) s = L::all(0.f);
  for (int64_t i = 0; i < n; i += 64)
    for (int v = 0; v < kVectors; ++v) sums[v] = L::add(sums[v], attention::exp_nonpositive<L>(L::load(x + i + v * L::width)));
  for (int v = 1; v < kVectors; ++v) sums[0] = L::add(sums[0], sums[v]);
  return L::total(sums[0]);
}

}  // namespace KERF_ISA
}  // namespace kerf::roof
