// The frame of ops that divide each group of n columns by a root of its sum of squares. A double accumulator is a chain of
// dependent additions (4 cycles each); here four float vectors take 4*lanes squares per step. Sums of 1024 squares are then
// added in double: no accumulator lane sees more than 1024/(4*8) = 32 additions, so the sum is good to a few units in the last
// place at any width. An op says what a group is multiplied by, and how a stretch of it is computed from that:
//
//   scale(sum of squares): float          columns(t, k, g, n, scale, y): y[0..n) = columns k ... of row t, in the group from column g on
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
    s0 = Instructions<B>::fma(x0, x0, s0);
    s1 = Instructions<B>::fma(x1, x1, s1);
    s2 = Instructions<B>::fma(x2, x2, s2);
    s3 = Instructions<B>::fma(x3, x3, s3);
  }
  for (; i + w <= n; i += w) {
    const B v = B::load_unaligned(x + i);
    s0 = Instructions<B>::fma(v, v, s0);
  }
  if (i < n) {
    const B v = load_part<B>(x + i, n - i);
    s1 = Instructions<B>::fma(v, v, s1);
  }
  return xsimd::hadd((s0 + s1) + (s2 + s3));
}

template <class B>
inline double all_squares(const float* x, int64_t n) {
  constexpr int64_t kBlock = 1024;
  double sum = 0;
  for (int64_t i = 0; i < n; i += kBlock) sum += static_cast<double>(sum_of_squares<B>(x + i, n - i < kBlock ? n - i : kBlock));
  return sum;
}

/// f(t, first column) for each group of all rows.
/// @param work how many times as much a value costs as kSpanValues counts with
template <class F>
void for_each_group(const Call& call, int64_t n, int64_t work, const F& f) {
  const TensorDesc& x = call.in[0].desc;
  const int64_t groups = x.cols() / n;
  for_each_rows(call.pool, x.rows() * groups, n * work, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) f(i / groups, i % groups * n);
  });
}

template <class B, class Scale, class Columns>
void norm_f32(const Call& call, int64_t n, int64_t work, const Scale& scale, const Columns& columns) {
  const TensorView &x = call.in[0], &out = call.out[0];
  for_each_group(call, n, work,
                 [&](int64_t t, int64_t g) { columns(t, g, g, n, scale(all_squares<B>(x.row<float>(t) + g, n)), out.row<float>(t) + g); });
}

template <class B, class Encoder, class Scale, class Columns>
void norm_q8_g16(const Call& call, int64_t n, int64_t work, const Scale& scale, const Columns& columns) {
  const TensorView &x = call.in[0], &out = call.out[0];
  for_each_group(call, n, 2 * work, [&](int64_t t, int64_t g) {
    const float s = scale(all_squares<B>(x.row<float>(t) + g, n));
    write_q8_g16<Encoder>(out, t, g, g + n, [&](int64_t k, int64_t m, float* y) { columns(t, k, g, m, s, y); });
  });
}

/// Sixteen rows make a strip of tiles: a thread has their scales before it writes the first tile.
template <class B, class Encoder, class Scale, class Columns>
void norm_bf16_t16(const Call& call, int64_t n, const Scale& scale, const Columns& columns) {
  const TensorView &x = call.in[0], &out = call.out[0];
  const int64_t T = x.desc.rows(), groups = x.desc.cols() / n;
  call.pool.parallel_for(strips_of(x.desc) * groups, [&](int64_t i) {
    const int64_t strip = i / groups, g = i % groups * n, first = strip * kStripRows, rows = T - first < kStripRows ? T - first : kStripRows;
    float s[kStripRows];
    for (int64_t r = 0; r < rows; ++r) s[r] = scale(all_squares<B>(x.row<float>(first + r) + g, n));
    write_tiles<Encoder>(out, strip, g, g + n, [&](int64_t t, int64_t k, int64_t m, float* y) { columns(t, k, g, m, s[t - first], y); });
  });
}

/// The op in whichever format its output has.
template <class B, class Encoder, class Scale, class Columns>
void norm(const Call& call, int64_t n, int64_t work, const Scale& scale, const Columns& columns) {
  if (call.out[0].desc.dtype == DType::q8_g16) return norm_q8_g16<B, Encoder>(call, n, work, scale, columns);
  if (call.out[0].desc.dtype == DType::bf16_t16) return norm_bf16_t16<B, Encoder>(call, n, scale, columns);
  norm_f32<B>(call, n, work, scale, columns);
}

/// 1 / sqrt(mean of n squares + eps), the scale of both RMS norms.
struct RmsScale {
  double n, eps;
  float operator()(double squares) const { return static_cast<float>(1 / std::sqrt(squares / n + eps)); }
};

}  // namespace KERF_ISA
}  // namespace kerf::cpu
