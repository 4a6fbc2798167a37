// gated_rms_norm, rung 2: simd_gated_rms_norm.h with 8 lanes (AVX2, FMA).
#include "backends/cpu/batch_avx2.h"
#include "backends/cpu/encode_avx2.h"
#include "backends/cpu/simd_gated_rms_norm.h"
#include "backends/cpu/simd_rung.h"

namespace kerf::cpu {

void gated_rms_norm_2_simd_avx2(Registry::Adder r);
void gated_rms_norm_2_simd_avx2(Registry::Adder r) {
  add_rung(r, {.op = GatedRmsNorm::name,
               .variant = "2_simd_avx2",
               .improves = "1_plain",
               .note = "vector sums instead of a chain of double additions, and 8 exponentials at a time",
               .preference = 2,
               .isa = Isa::avx2,
               .writes_formats = true,
               .accepts = accepts_rms_norm,
               .run = gated_rms_norm<BatchAvx2, EncodeAvx2>});
}

}  // namespace kerf::cpu
