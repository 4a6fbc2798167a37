// add, rung 1: out = a + b, b either of a's shape or one row added to every row of a (a bias).
#include "backends/cpu/simd_loop.h"
#include "backends/cpu/simd_rung.h"

namespace kerf::cpu {
namespace {

void run(const Problem&, const Call& call) {
  const TensorView &a = call.in[0], &b = call.in[1], &out = call.out[0];
  const int64_t cols = a.desc.cols(), step = b.desc.rows() == 1 ? 0 : 1;
  for_each_rows(call.pool, a.desc.rows(), cols, [&](int64_t begin, int64_t end) {
    for (int64_t t = begin; t < end; ++t) {
      const float *x = a.row<float>(t), *y = b.row<float>(t * step);
      float* o = out.row<float>(t);
      for (int64_t i = 0; i < cols; ++i) o[i] = x[i] + y[i];
    }
  });
}

}  // namespace

void add_1_plain(Registry::Adder r);
void add_1_plain(Registry::Adder r) {
  add_rung(r, {.op = Add::name,
               .variant = "1_plain",
               .note = "one loop over the columns of a row; rows are shared between threads",
               .preference = 1,
               .accepts = accepts_all,
               .run = run});
}

}  // namespace kerf::cpu
