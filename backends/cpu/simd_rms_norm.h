// rms_norm in vectors. A double accumulator is a chain of dependent additions (4 cycles each); here four float vectors
// take 4*lanes squares per step. Sums of 1024 squares are then added in double: no accumulator lane sees more than
// 1024/(4*8) = 32 additions, so the sum is good to a few units in the last place at any width.
#pragma once
#include <cmath>

#include "backends/cpu/simd_batch.h"
#include "backends/cpu/simd_loop.h"
#include "backends/cpu/simd_rung.h"

namespace kerf::cpu {
inline namespace KERF_ISA {

template <class B>
inline float sum_of_squares(const float* x, int64_t n) {
  constexpr int64_t w = kLanes<B>;
  B s0(0.f), s1(0.f), s2(0.f), s3(0.f);
  int64_t i = 0;
  for (; i + 4 * w <= n; i += 4 * w) {
    const B x0 = B::load_unaligned(x + i), x1 = B::load_unaligned(x + i + w), x2 = B::load_unaligned(x + i + 2 * w),
            x3 = B::load_unaligned(x + i + 3 * w);
    s0 = xsimd::fma(x0, x0, s0);
    s1 = xsimd::fma(x1, x1, s1);
    s2 = xsimd::fma(x2, x2, s2);
    s3 = xsimd::fma(x3, x3, s3);
  }
  for (; i + w <= n; i += w) {
    const B v = B::load_unaligned(x + i);
    s0 = xsimd::fma(v, v, s0);
  }
  if (i < n) {
    const B v = load_part<B>(x + i, n - i);
    s1 = xsimd::fma(v, v, s1);
  }
  return xsimd::hadd((s0 + s1) + (s2 + s3));
}

template <class B>
void normalise(const float* x, const float* w, float* out, int64_t n, double eps) {
  constexpr int64_t kBlock = 1024;
  double sum = 0;
  for (int64_t i = 0; i < n; i += kBlock) sum += static_cast<double>(sum_of_squares<B>(x + i, n - i < kBlock ? n - i : kBlock));
  const B scale(static_cast<float>(1 / std::sqrt(sum / static_cast<double>(n) + eps)));
  map2<B>(x, w, out, n, [&](const B& v, const B& weight) { return v * scale * weight; });
}

template <class B>
void rms_norm(const Problem& p, const Call& call) {
  const TensorView &x = call.in[0], &out = call.out[0];
  const auto* w = call.in[1].as<float>();
  const int64_t cols = x.desc.cols(), n = call.in[1].desc.cols();
  const double eps = static_cast<double>(rms_norm_of(p).eps);
  for_each_rows(call.pool, x.desc.rows(), cols, [&](int64_t begin, int64_t end) {
    for (int64_t t = begin; t < end; ++t)
      for (int64_t g = 0; g < cols; g += n) normalise<B>(x.row<float>(t) + g, w, out.row<float>(t) + g, n, eps);
  });
}

}  // namespace KERF_ISA
}  // namespace kerf::cpu
