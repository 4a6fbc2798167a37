// Y = X W^T by Eigen's GEMM (for one token its GEMV), panel by panel over the pool. Eigen's product allocates its packing
// buffers by itself: the one kernel of kerf that allocates, and that throws std::bad_alloc when memory is out.
#pragma once
#include "backends/eigen/rung.h"
#include "core/threadpool.h"
#include "quant/decode_wide.h"

#include "backends/eigen/eigen.h"

namespace kerf::eigen {
inline namespace KERF_ISA {

using Matrix = Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
using Input = Eigen::Map<const Matrix, Eigen::Unaligned, Eigen::OuterStride<>>;
using Output = Eigen::Map<Matrix, Eigen::Unaligned, Eigen::OuterStride<>>;

/// Columns [n, n + rows) of y, from weights that are floats already.
inline void product(const Call& call, const float* w, int64_t n, int64_t rows) {
  const TensorView &x = call.in[0], &y = call.out[0];
  const int64_t T = x.desc.rows(), K = x.desc.cols(), N = y.desc.cols();
  const Input tokens(x.as<const float>(), T, K, Eigen::OuterStride<>(K)), weights(w, rows, K, Eigen::OuterStride<>(K));
  Output(y.as<float>() + n, T, rows, Eigen::OuterStride<>(N)).noalias() = tokens * weights.transpose();
}

/// The same for weights of format F, decoded `c.depth` columns at a time into `panel`.
template <class F>
void decoded_product(const Call& call, const Cut& c, float* panel, int64_t n, int64_t rows) {
  const TensorView &x = call.in[0], &w = call.in[1], &y = call.out[0];
  const int64_t T = x.desc.rows(), K = x.desc.cols(), N = y.desc.cols();
  Output out(y.as<float>() + n, T, rows, Eigen::OuterStride<>(N));
  for (int64_t k = 0; k < K; k += c.depth) {
    const int64_t depth = K - k < c.depth ? K - k : c.depth;
    for (int64_t r = 0; r < rows; ++r) quant::decode_row_wide<F>(w.row<const std::byte>(n + r) + row_bytes(F::dtype, k), depth, panel + r * c.pitch);
    const Input tokens(x.as<const float>() + k, T, depth, Eigen::OuterStride<>(K)), weights(panel, rows, depth, Eigen::OuterStride<>(c.pitch));
    if (k == 0)
      out.noalias() = tokens * weights.transpose();
    else
      out.noalias() += tokens * weights.transpose();
  }
}

inline void matmul(const Problem& p, const Call& call) {
  const Cut c = cut_of(p);
  const int64_t N = p.in[1].rows();
  const auto rows = [&](int64_t panel) { return N - panel * c.rows < c.rows ? N - panel * c.rows : c.rows; };
  if (p.in[1].dtype == DType::f32) {
    call.pool.parallel_for(c.panels, [&](int64_t i) { product(call, call.in[1].row<const float>(i * c.rows), i * c.rows, rows(i)); });
    return;
  }
  auto* scratch = reinterpret_cast<float*>(call.scratch.data());
  quant::Formats::visit(p.in[1].dtype, [&]<class F>(F) {
    call.pool.parallel_for(c.slots, [&](int64_t slot) {
      for (int64_t i = slot; i < c.panels; i += c.slots) decoded_product<F>(call, c, scratch + slot * c.rows * c.pitch, i * c.rows, rows(i));
    });
  });
}

}  // namespace KERF_ISA
}  // namespace kerf::eigen
