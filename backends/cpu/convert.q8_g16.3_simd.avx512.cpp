// convert q8_g16.3_simd_avx512: sixteen groups of one register at once (encode_avx512.h). Bit for bit the same as the definition.
#include "backends/cpu/convert.h"
#include "backends/cpu/encode_avx512.h"
#include "backends/cpu/simd_rung.h"

namespace kerf::cpu {
void convert_q8_g16_3_simd_avx512(Registry::Adder);
namespace {

void encode_row(const float* x, int64_t K, void* row) {
  auto* q = static_cast<int8_t*>(row);
  auto* d = reinterpret_cast<float*>(q + K);
  EncodeAvx512::groups(x, K / 16, q, d, d + K / 16);
}

void run(const Problem&, const Call& call) { run_encode(call, encode_row); }

}  // namespace

void convert_q8_g16_3_simd_avx512(Registry::Adder registry) {
  add_rung(registry, {.op = Convert::name,
                      .variant = "q8_g16.3_simd_avx512",
                      .improves = "q8_g16.2_simd_avx2",
                      .note = "sixteen groups at once: their reductions share shuffles, and 1/d replaces the divisions",
                      .preference = 3,
                      .isa = Isa::avx512,
                      .accepts = accepts_encode,
                      .run = run});
}

}  // namespace kerf::cpu
