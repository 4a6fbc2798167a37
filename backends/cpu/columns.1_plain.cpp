// columns, rung 1 and the only one: copying is what memcpy is for; it has vectors of its own.
#include <cstring>

#include "backends/cpu/simd_loop.h"
#include "backends/cpu/simd_rung.h"

namespace kerf::cpu {
namespace {

void run(const Problem& p, const Call& call) {
  const auto& op = std::get<Columns>(p.op);
  const TensorView &x = call.in[0], &out = call.out[0];
  const int64_t groups = x.desc.cols() / op.group;
  for_each_rows(call.pool, x.desc.rows(), out.desc.cols(), [&](int64_t begin, int64_t end) {
    for (int64_t t = begin; t < end; ++t)
      for (int64_t g = 0; g < groups; ++g)
        std::memcpy(out.row<float>(t) + g * op.count, x.row<float>(t) + g * op.group + op.first, static_cast<size_t>(op.count) * sizeof(float));
  });
}

}  // namespace

void columns_1_plain(Registry::Adder r);
void columns_1_plain(Registry::Adder r) {
  add_rung(r, {.op = Columns::name,
               .variant = "1_plain",
               .note = "one memcpy per group of columns; a copy has no arithmetic that vectors could do better",
               .preference = 1,
               .accepts = accepts_all,
               .run = run});
}

}  // namespace kerf::cpu
