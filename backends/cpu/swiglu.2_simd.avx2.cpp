// swiglu, rung 2: simd_swiglu.h with 8 lanes (AVX2, FMA).
#include "backends/cpu/batch_avx2.h"
#include "backends/cpu/encode_avx2.h"
#include "backends/cpu/simd_rung.h"
#include "backends/cpu/simd_swiglu.h"

namespace kerf::cpu {

void swiglu_2_simd_avx2(Registry::Adder r);
void swiglu_2_simd_avx2(Registry::Adder r) {
  add_rung(r, {.op = SwiGlu::name,
               .variant = "2_simd_avx2",
               .improves = "1_plain",
               .note = "8 exponentials at a time instead of one library call per value",
               .preference = 2,
               .isa = Isa::avx2,
               .writes_formats = true,
               .accepts = accepts_elementwise,
               .run = swiglu<BatchAvx2, EncodeAvx2>});
}

}  // namespace kerf::cpu
