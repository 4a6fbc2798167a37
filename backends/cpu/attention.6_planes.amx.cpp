// attention, rung 6: rung 4 with every operand as the sum of two bf16 terms, for caches that hold more than 8 bits (f16, f32).
// What changes: x = h + l, h = bf16(x), l = bf16(x - h), and three tile products h h + h l + l h instead of one; exp2 to full
// precision. Why: with f16 weights the rounding of rung 4 was the largest error of a whole model. What it costs: three times
// the tile products of rung 4, and twice the decoding.
#include "backends/cpu/attention_tiles_amx.h"
#include "backends/cpu/simd_rung.h"

namespace kerf::cpu {
void attention_6_planes_amx(Registry::Adder registry);

void attention_6_planes_amx(Registry::Adder registry) {
  add_rung(registry, {.op = Attention::name,
                      .variant = "6_planes.amx",
                      .improves = "4_tiles.amx",
                      .note = "operands as sums of two bf16 terms, three tile products for one: the precision of an f16 or f32 cache is kept",
                      .preference = 6,
                      .isa = Isa::amx,
                      .unit = 0x1p-15,
                      .accepts = attention_planes_accepts,
                      .run = run_tiles<2>});
}

}  // namespace kerf::cpu
