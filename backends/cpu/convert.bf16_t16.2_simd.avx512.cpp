// convert bf16_t16.2_simd_avx512: a row's 32 values in two registers, rounded with integers, and rows become columns of pairs.
// Same bits as the definition (core/half.h).
#include "backends/cpu/convert.h"
#include "backends/cpu/encode_avx512.h"
#include "backends/cpu/simd_rung.h"

namespace kerf::cpu {
void convert_bf16_t16_2_simd_avx512(Registry::Adder);
namespace {

void encode_tile(const float* x, int64_t stride, int rows, std::byte* tile) {
  alignas(64) std::byte row[16 * 64] = {};
  for (int t = 0; t < rows; ++t) EncodeAvx512::round(x + t * stride, row + 64 * t);
  EncodeAvx512::columns(row, 64, tile);
}

void run(const Problem&, const Call& call) { run_encode_tiles(call, encode_tile); }

}  // namespace

void convert_bf16_t16_2_simd_avx512(Registry::Adder registry) {
  add_rung(registry, {.op = Convert::name,
                      .variant = "bf16_t16.2_simd_avx512",
                      .improves = "bf16_t16.1_generic",
                      .note = "32 values rounded at once; a tile's rows become columns in 32 shuffles",
                      .preference = 2,
                      .isa = Isa::avx512,
                      .accepts = accepts_encode_tiles,
                      .run = run});
}

}  // namespace kerf::cpu
