// swiglu, rung 3: simd_swiglu.h with 16 lanes (AVX-512F).
#include "backends/cpu/batch_avx512.h"
#include "backends/cpu/encode_avx512.h"
#include "backends/cpu/simd_rung.h"
#include "backends/cpu/simd_swiglu.h"

namespace kerf::cpu {

void swiglu_3_simd_avx512(Registry::Adder r);
void swiglu_3_simd_avx512(Registry::Adder r) {
  add_rung(r, {.op = SwiGlu::name,
               .variant = "3_simd_avx512",
               .improves = "2_simd_avx2",
               .note = "the same algorithm on 16 lanes: half the instructions",
               .preference = 3,
               .isa = Isa::avx512,
               .writes_formats = true,
               .accepts = accepts_elementwise,
               .run = swiglu<BatchAvx512, EncodeAvx512>});
}

}  // namespace kerf::cpu
