// add, rms_norm and swiglu as Eigen array expressions: what a reader would write, one row (or span) per task.
#pragma once
#include <cmath>

#include "backends/eigen/rung.h"
#include "core/threadpool.h"

#include "backends/eigen/eigen.h"

namespace kerf::eigen {
inline namespace KERF_ISA {

using Values = Eigen::Map<const Eigen::ArrayXf>;
using Result = Eigen::Map<Eigen::ArrayXf>;

/// Rows per task: about 8192 values, below which waking a thread costs more than it saves.
inline constexpr int64_t kTaskValues = 8192;

/// body(t) for each of `rows` rows of `cols` values.
template <class Body>
void for_each_row(ThreadPool& pool, int64_t rows, int64_t cols, const Body& body) {
  const int64_t step = cols < kTaskValues ? kTaskValues / cols : 1;
  pool.parallel_for((rows + step - 1) / step, [&](int64_t i) {
    for (int64_t t = i * step; t < rows && t < (i + 1) * step; ++t) body(t);
  });
}

inline void add(const Problem&, const Call& call) {
  const TensorView &a = call.in[0], &b = call.in[1], &out = call.out[0];
  const int64_t cols = a.desc.cols(), step = b.desc.rows() == 1 ? 0 : 1;
  for_each_row(call.pool, a.desc.rows(), cols, [&](int64_t t) {
    Result(out.row<float>(t), cols) = Values(a.row<const float>(t), cols) + Values(b.row<const float>(t * step), cols);
  });
}

/// Sums of 1024 squares in float, those in double, as a long float sum would lose digits.
inline double sum_of_squares(const float* x, int64_t n) {
  constexpr int64_t kBlock = 1024;
  double sum = 0;
  for (int64_t i = 0; i < n; i += kBlock) sum += static_cast<double>(Values(x + i, n - i < kBlock ? n - i : kBlock).square().sum());
  return sum;
}

inline void rms_norm(const Problem& p, const Call& call) {
  const TensorView &x = call.in[0], &w = call.in[1], &out = call.out[0];
  const int64_t cols = x.desc.cols(), n = w.desc.cols();
  const double eps = static_cast<double>(rms_norm_eps(p));
  const Values weights(w.as<const float>(), n);
  for_each_row(call.pool, x.desc.rows(), cols, [&](int64_t t) {
    for (int64_t g = 0; g < cols; g += n) {
      const float* row = x.row<const float>(t) + g;
      const auto scale = static_cast<float>(1 / std::sqrt(sum_of_squares(row, n) / static_cast<double>(n) + eps));
      Result(out.row<float>(t) + g, n) = Values(row, n) * scale * weights;
    }
  });
}

inline void swiglu(const Problem&, const Call& call) {
  const TensorView &gate = call.in[0], &up = call.in[1], &out = call.out[0];
  const int64_t cols = gate.desc.cols();
  for_each_row(call.pool, gate.desc.rows(), cols, [&](int64_t t) {
    const Values g(gate.row<const float>(t), cols), u(up.row<const float>(t), cols);
    Result(out.row<float>(t), cols) = g / (1.f + (-g).exp()) * u;
  });
}

}  // namespace KERF_ISA
}  // namespace kerf::eigen
