// sigmoid_gate, rung 1: x / (1 + exp(-gate)); for gates far below zero exp overflows to infinity and the quotient is the right zero.
#include <cmath>

#include "backends/cpu/simd_loop.h"
#include "backends/cpu/simd_rung.h"

namespace kerf::cpu {
namespace {

void run(const Problem&, const Call& call) {
  const TensorView &x = call.in[0], &gate = call.in[1], &out = call.out[0];
  const int64_t cols = x.desc.cols(), step = gate.desc.cols() == 1 ? 0 : 1;
  for_each_rows(call.pool, x.desc.rows(), 8 * cols, [&](int64_t begin, int64_t end) {
    for (int64_t t = begin; t < end; ++t)
      for (int64_t i = 0; i < cols; ++i) out.row<float>(t)[i] = x.row<float>(t)[i] / (1 + std::exp(-gate.row<float>(t)[i * step]));
  });
}

}  // namespace

void sigmoid_gate_1_plain(Registry::Adder r);
void sigmoid_gate_1_plain(Registry::Adder r) {
  add_rung(r,
           {.op = SigmoidGate::name, .variant = "1_plain", .note = "one library exp per value", .preference = 1, .accepts = accepts_all, .run = run});
}

}  // namespace kerf::cpu
