// rms_norm in vectors. A double accumulator is a chain of dependent additions (4 cycles each); here four float vectors
// take 4*lanes squares per step. Sums of 1024 squares are then added in double: no accumulator lane sees more than
// 1024/(4*8) = 32 additions, so the sum is good to a few units in the last place at any width.
#pragma once
#include <cmath>

#include "backends/cpu/simd_batch.h"
#include "backends/cpu/simd_loop.h"
#include "backends/cpu/simd_rung.h"
#include "backends/cpu/simd_write.h"

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

/// What a group of n columns is multiplied by: 1 / sqrt(mean(x^2) + eps).
template <class B>
float norm_scale(const float* x, int64_t n, double eps) {
  constexpr int64_t kBlock = 1024;
  double sum = 0;
  for (int64_t i = 0; i < n; i += kBlock) sum += static_cast<double>(sum_of_squares<B>(x + i, n - i < kBlock ? n - i : kBlock));
  return static_cast<float>(1 / std::sqrt(sum / static_cast<double>(n) + eps));
}

template <class B>
inline void scale_columns(const float* x, const float* w, float scale, float* out, int64_t n) {
  const B s(scale);
  map2<B>(x, w, out, n, [&](const B& v, const B& weight) { return v * s * weight; });
}

/// x [T,K] in groups of n columns, out as f32.
template <class B>
void rms_norm_f32(const Call& call, int64_t n, double eps) {
  const TensorView &x = call.in[0], &out = call.out[0];
  const auto* w = call.in[1].as<float>();
  const int64_t cols = x.desc.cols();
  for_each_rows(call.pool, x.desc.rows(), cols, [&](int64_t begin, int64_t end) {
    for (int64_t t = begin; t < end; ++t)
      for (int64_t g = 0; g < cols; g += n) {
        const float* v = x.row<float>(t) + g;
        scale_columns<B>(v, w, norm_scale<B>(v, n, eps), out.row<float>(t) + g, n);
      }
  });
}

template <class B, class Encoder>
void rms_norm_q8_g16(const Call& call, int64_t n, double eps) {
  const TensorView &x = call.in[0], &out = call.out[0];
  const auto* w = call.in[1].as<float>();
  const int64_t cols = x.desc.cols();
  for_each_rows(call.pool, x.desc.rows(), 2 * cols, [&](int64_t begin, int64_t end) {
    for (int64_t t = begin; t < end; ++t)
      for (int64_t g = 0; g < cols; g += n) {
        const float* v = x.row<float>(t);
        const float scale = norm_scale<B>(v + g, n, eps);
        write_q8_g16<Encoder>(out, t, g, g + n, [&](int64_t k, int64_t m, float* y) { scale_columns<B>(v + k, w + k - g, scale, y, m); });
      }
  });
}

/// Sixteen rows make a strip of tiles: a thread has their scales before it writes the first tile.
template <class B, class Encoder>
void rms_norm_bf16_t16(const Call& call, int64_t n, double eps) {
  const TensorView &x = call.in[0], &out = call.out[0];
  const auto* w = call.in[1].as<float>();
  const int64_t T = x.desc.rows(), cols = x.desc.cols();
  call.pool.parallel_for(strips_of(x.desc), [&](int64_t strip) {
    const int64_t first = strip * kStripRows, rows = T - first < kStripRows ? T - first : kStripRows;
    for (int64_t g = 0; g < cols; g += n) {
      float scale[kStripRows];
      for (int64_t r = 0; r < rows; ++r) scale[r] = norm_scale<B>(x.row<float>(first + r) + g, n, eps);
      write_tiles<Encoder>(out, strip, g, g + n, [&](int64_t t, int64_t k, int64_t m, float* y) {
        scale_columns<B>(x.row<float>(t) + k, w + k - g, scale[t - first], y, m);
      });
    }
  });
}

template <class B, class Encoder>
void rms_norm(const Problem& p, const Call& call) {
  const int64_t n = call.in[1].desc.cols();
  const double eps = static_cast<double>(rms_norm_of(p).eps);
  if (call.out[0].desc.dtype == DType::q8_g16) return rms_norm_q8_g16<B, Encoder>(call, n, eps);
  if (call.out[0].desc.dtype == DType::bf16_t16) return rms_norm_bf16_t16<B, Encoder>(call, n, eps);
  rms_norm_f32<B>(call, n, eps);
}

}  // namespace KERF_ISA
}  // namespace kerf::cpu
