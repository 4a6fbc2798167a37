// argmax, rung 1: one value after the other.
#include "backends/cpu/argmax.h"
#include "backends/cpu/simd_rung.h"

namespace kerf::cpu {
namespace {

bool is_finite(float x) { return x - x == 0; }

Found search(const float* x, int64_t n) {
  Found best{.value = x[0], .id = 0};
  for (int32_t i = 0; i < n; ++i) {
    if (!is_finite(x[i])) return {.value = x[i], .id = ~i};
    if (x[i] > best.value) best = {.value = x[i], .id = i};
  }
  return best;
}

void run(const Problem&, const Call& call) { argmax_rows(call, search); }

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
