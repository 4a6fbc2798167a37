// argmax, rung 1: one value after the other.
#include "backends/cpu/argmax.h"
#include "backends/cpu/simd_rung.h"

namespace kerf::cpu {
namespace {

void run(const Problem&, const Call& call) {
  argmax_rows(call, [](const float* x, int64_t n) { return argmax_plainly(x, 0, n, {.value = x[0], .id = 0}); });
}

}  // namespace

void argmax_1_plain(Registry::Adder r);
void argmax_1_plain(Registry::Adder r) {
  add_rung(r, {.op = Argmax::name,
               .variant = "1_plain",
               .note = "a comparison and a test for what is not finite per value; threads share a row by pieces of 16384",
               .preference = 1,
               .accepts = accepts_all,
               .run = run,
               .scratch_bytes = argmax_scratch});
}

}  // namespace kerf::cpu
