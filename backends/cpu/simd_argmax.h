// argmax in vectors that carry no ids: a maximum and a test for what is not finite per vector. The place of the largest is looked
// for at the end, in the one span of values that has it.
#pragma once
#include "backends/cpu/argmax.h"
#include "backends/cpu/simd_batch.h"

namespace kerf::cpu {
inline namespace KERF_ISA {

/// A span of `n` values, n a multiple of 4 vectors. `rest` is 0, but NaN if one of them is not finite.
template <class B>
float largest_of_span(const float* x, int64_t n, float& rest) {
  constexpr int64_t L = kLanes<B>;
  B largest[4], zeros[4];  // four chains: one would wait for the result of each maximum
  for (int j = 0; j < 4; ++j) largest[j] = B::load_unaligned(x + j * L), zeros[j] = B(0.f);
  for (int64_t i = 0; i < n; i += 4 * L)
    for (int j = 0; j < 4; ++j) {
      const B v = B::load_unaligned(x + i + j * L);
      largest[j] = xsimd::max(largest[j], v);
      zeros[j] = Instructions<B>::fma(v, B(0.f), zeros[j]);  // infinity and NaN times 0 are NaN, and stay so
    }
  rest = xsimd::hadd((zeros[0] + zeros[1]) + (zeros[2] + zeros[3]));
  alignas(64) float lanes[B::size];
  xsimd::max(xsimd::max(largest[0], largest[1]), xsimd::max(largest[2], largest[3])).store_aligned(lanes);
  float most = lanes[0];
  for (size_t j = 1; j < B::size; ++j) most = lanes[j] > most ? lanes[j] : most;
  return most;
}

template <class B>
Found argmax_piece(const float* x, int64_t n) {
  constexpr int64_t kSpan = 512;
  float best = x[0];
  int64_t at = 0, i = 0;  // the span of the best so far begins at x[at]
  for (; i + kSpan <= n; i += kSpan) {
    float zero = 0;
    const float most = largest_of_span<B>(x + i, kSpan, zero);
    if (zero != 0) return argmax_plainly(x, i, i + kSpan, {});
    if (most > best) best = most, at = i;
  }
  while (at < i && x[at] != best) ++at;
  return argmax_plainly(x, i, n, {best, static_cast<int32_t>(at)});
}

template <class B>
void argmax(const Problem&, const Call& call) {
  argmax_rows(call, argmax_piece<B>);
}

}  // namespace KERF_ISA
}  // namespace kerf::cpu
