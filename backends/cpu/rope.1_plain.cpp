// rope, rung 1: rotates pair (a, b) of every head by the angle of its token: (a cos - b sin, a sin + b cos).
#include "backends/cpu/rope_heads.h"
#include "backends/cpu/simd_loop.h"
#include "backends/cpu/simd_rung.h"

namespace kerf::cpu {
namespace {

void run(const Problem& p, const Call& call) {
  const Rope& op = rope_of(p);
  const TensorView &x = call.in[0], &table = call.in[1], &out = call.out[0];
  const int64_t cols = x.desc.cols(), dims = table.desc.cols();
  for_each_rows(call.pool, x.desc.rows(), cols, [&](int64_t begin, int64_t end) {
    for (int64_t t = begin; t < end; ++t) rotate_heads(op, x.row<float>(t), cols, table.row<float>(t), dims, out.row<float>(t));
  });
}

}  // namespace

void rope_1_plain(Registry::Adder r);
void rope_1_plain(Registry::Adder r) {
  add_rung(r, {.op = Rope::name, .variant = "1_plain", .note = "head by head, pair by pair", .preference = 1, .accepts = accepts_all, .run = run});
}

}  // namespace kerf::cpu
