// convert q8_g16.1_generic: the definition of the format (quant/q8_g16.h), rows over the pool.
#include "backends/cpu/convert.h"
#include "backends/cpu/simd_rung.h"
#include "quant/q8_g16.h"

namespace kerf::cpu {
void convert_q8_g16_1_generic(Registry::Adder);
namespace {
void run(const Problem&, const Call& call) { run_encode(call, quant::Q8_G16::encode_row); }
}  // namespace

void convert_q8_g16_1_generic(Registry::Adder registry) {
  add_rung(registry, {.op = Convert::name,
                      .variant = "q8_g16.1_generic",
                      .note = "groups of 16 coded one value at a time",
                      .preference = 1,
                      .accepts = accepts_encode,
                      .run = run});
}

}  // namespace kerf::cpu
