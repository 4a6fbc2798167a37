// causal_conv, rung 3: simd_causal_conv.h with 16 lanes (AVX-512F).
#include "backends/cpu/batch_avx512.h"
#include "backends/cpu/simd_causal_conv.h"
#include "backends/cpu/simd_rung.h"

namespace kerf::cpu {

void causal_conv_3_simd_avx512(Registry::Adder r);
void causal_conv_3_simd_avx512(Registry::Adder r) {
  add_rung(r, {.op = CausalConv::name,
               .variant = "3_simd_avx512",
               .improves = "2_simd_avx2",
               .note = "the same algorithm on 16 lanes: half the instructions",
               .preference = 3,
               .isa = Isa::avx512,
               .accepts = accepts_causal_conv,
               .run = causal_conv<BatchAvx512>});
}

}  // namespace kerf::cpu
