// causal_conv, rung 2: simd_causal_conv.h with 8 lanes (AVX2, FMA).
#include "backends/cpu/batch_avx2.h"
#include "backends/cpu/simd_causal_conv.h"
#include "backends/cpu/simd_rung.h"

namespace kerf::cpu {

void causal_conv_2_simd_avx2(Registry::Adder r);
void causal_conv_2_simd_avx2(Registry::Adder r) {
  add_rung(r, {.op = CausalConv::name,
               .variant = "2_simd_avx2",
               .improves = "1_plain",
               .note = "8 channels at a time, whose taps are put into vectors once per batch",
               .preference = 2,
               .isa = Isa::avx2,
               .accepts = accepts_causal_conv,
               .run = causal_conv<BatchAvx2>});
}

}  // namespace kerf::cpu
