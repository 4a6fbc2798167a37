// swiglu, rung 1: silu(gate) * up with silu(g) = g / (1 + exp(-g)); for g far below zero exp overflows to infinity and
// the quotient is the right zero. Shazeer 2020 (GLU variants).
#include <cmath>

#include "backends/cpu/simd_loop.h"
#include "backends/cpu/simd_rung.h"

namespace kerf::cpu {
namespace {

void run(const Problem&, const Call& call) {
  const auto *gate = call.in[0].as<float>(), *up = call.in[1].as<float>();
  auto* out = call.out[0].as<float>();
  for_each_span(call.pool, call.in[0].desc.size(), kSpanValues / 4, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) out[i] = gate[i] / (1 + std::exp(-gate[i])) * up[i];
  });
}

}  // namespace

void swiglu_1_plain(Registry::Adder r);
void swiglu_1_plain(Registry::Adder r) {
  add_rung(r, {.op = SwiGlu::name, .variant = "1_plain", .note = "one library exp per value", .preference = 1, .accepts = accepts_all, .run = run});
}

}  // namespace kerf::cpu
