// attention, rung 4: AMX tiles in bf16 (attention_tiles_amx.h). What it costs: rounding of q, k, v and the weights to 8 bits
// (NMSE about 1e-5), and padding to 32 rows. Measured on one core (Xeon, model 207), 12 query heads on 2 of 128, 512 tokens
// after 4096: 389 GMAC/s from f16, 408 from q8_0; rung 3 62 from f16: 6.3 times.
#include "backends/cpu/attention_tiles_amx.h"
#include "backends/cpu/simd_rung.h"

namespace kerf::cpu {
void attention_4_tiles_amx(Registry::Adder registry);

void attention_4_tiles_amx(Registry::Adder registry) {
  add_rung(registry, {.op = Attention::name,
                      .variant = "4_tiles.amx",
                      .improves = "3_tiled.avx512",
                      .note = "both products in bf16 tiles, 16 times the rate of f32 vectors; any cache format, decoded once per 384 rows",
                      .preference = 4,
                      .isa = Isa::amx,
                      .unit = 0x1p-8,
                      .accepts = attention_tiles_accepts,
                      .run = run_tiles<1>});
}

}  // namespace kerf::cpu
