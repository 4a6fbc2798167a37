#include <algorithm>

#include "backends/cpu/convert.h"
#include "core/threadpool.h"
#include "quant/q15_t16.h"

namespace kerf::cpu {

void run_encode_groups(const Call& call, EncodeGroupFn encode) {
  using quant::Q15_T16;
  const TensorView &x = call.in[0], &y = call.out[0];
  const int64_t rows = x.desc.rows(), K = x.desc.cols(), groups = (K + Q15_T16::kGroup - 1) / Q15_T16::kGroup;
  call.pool.parallel_for((rows + Q15_T16::kRows - 1) / Q15_T16::kRows * groups, [&](int64_t i) {
    const int64_t row = i / groups * Q15_T16::kRows, k = i % groups * Q15_T16::kGroup;
    encode(x.row<const float>(row) + k, K, static_cast<int>(std::min(Q15_T16::kRows, rows - row)), std::min(Q15_T16::kGroup, K - k),
           y.as<std::byte>() + Q15_T16::code_at(row, k, K), reinterpret_cast<float*>(y.as<std::byte>() + Q15_T16::step_at(row, k, K)));
  });
}

Support accepts_encode_groups(const Problem& p) {
  if (auto s = require(p.in[0].dtype == DType::f32, "the input is not f32"); !s) return s;
  if (auto s = require(p.out[0].dtype == DType::q15_t16, "the output is not q15_t16"); !s) return s;
  return require(p.in[0].cols() % quant::Q15_T16::kCols == 0, "rows are no multiple of 64");
}

}  // namespace kerf::cpu
