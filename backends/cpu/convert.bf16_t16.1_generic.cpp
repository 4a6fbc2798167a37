// convert bf16_t16.1_generic: f32 -> bf16 tiles, pair by pair in the order in which a tile is stored.
#include <cstring>

#include "backends/cpu/convert.h"
#include "backends/cpu/simd_rung.h"
#include "core/half.h"

namespace kerf::cpu {
void convert_bf16_t16_1_generic(Registry::Adder);
namespace {

void encode_tile(const float* x, int64_t stride, int rows, std::byte* tile) {
  uint16_t value[16][16][2]{};  // [pair][row]
  for (int t = 0; t < rows; ++t)
    for (int k = 0; k < 32; ++k) value[k / 2][t][k % 2] = float_to_bf16(x[t * stride + k]);
  std::memcpy(tile, value, sizeof value);
}

void run(const Problem&, const Call& call) { run_encode_tiles(call, encode_tile); }

}  // namespace

void convert_bf16_t16_1_generic(Registry::Adder registry) {
  add_rung(registry, {.op = Convert::name,
                      .variant = "bf16_t16.1_generic",
                      .note = "the definition of the format, tile by tile over the threads",
                      .preference = 1,
                      .accepts = accepts_encode_tiles,
                      .run = run});
}

}  // namespace kerf::cpu
