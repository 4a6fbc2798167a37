// convert q8_g16.2_simd_avx2: a group is two registers (encode_avx2.h). Bit for bit the same as the definition.
#include "backends/cpu/convert.h"
#include "backends/cpu/encode_avx2.h"
#include "backends/cpu/simd_rung.h"

namespace kerf::cpu {
void convert_q8_g16_2_simd_avx2(Registry::Adder);
namespace {

void encode_row(const float* x, int64_t K, void* row) {
  auto* q = static_cast<int8_t*>(row);
  auto* d = reinterpret_cast<float*>(q + K);
  EncodeAvx2::groups(x, K / 16, q, d, d + K / 16);
}

void run(const Problem&, const Call& call) { run_encode(call, encode_row); }

}  // namespace

void convert_q8_g16_2_simd_avx2(Registry::Adder registry) {
  add_rung(registry, {.op = Convert::name,
                      .variant = "q8_g16.2_simd_avx2",
                      .improves = "q8_g16.1_generic",
                      .note = "a group of 16 in two registers, multiplied by 1/d where that gives the same code as the division by d",
                      .preference = 2,
                      .isa = Isa::avx2,
                      .accepts = accepts_encode,
                      .run = run});
}

}  // namespace kerf::cpu
