#include "backends/cpu/convert.h"

#include "core/threadpool.h"

namespace kerf::cpu {

void run_encode(const Call& call, EncodeRowFn encode) {
  const TensorView &x = call.in[0], &y = call.out[0];
  call.pool.parallel_for(x.desc.rows(), [&](int64_t r) { encode(x.row<const float>(r), x.desc.cols(), y.row<void>(r)); });
}

Support accepts_encode(const Problem& p) {
  if (auto s = require(p.in[0].dtype == DType::f32, "the input is not f32"); !s) return s;
  if (auto s = require(p.out[0].dtype == DType::q8_g16, "the output is not q8_g16"); !s) return s;
  return require(p.in[0].cols() % 32 == 0, "rows are no multiple of 32");
}

}  // namespace kerf::cpu
