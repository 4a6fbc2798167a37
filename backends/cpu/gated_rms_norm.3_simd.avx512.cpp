// gated_rms_norm, rung 3: simd_gated_rms_norm.h with 16 lanes (AVX-512F).
#include "backends/cpu/batch_avx512.h"
#include "backends/cpu/encode_avx512.h"
#include "backends/cpu/simd_gated_rms_norm.h"
#include "backends/cpu/simd_rung.h"

namespace kerf::cpu {

void gated_rms_norm_3_simd_avx512(Registry::Adder r);
void gated_rms_norm_3_simd_avx512(Registry::Adder r) {
  add_rung(r, {.op = GatedRmsNorm::name,
               .variant = "3_simd_avx512",
               .improves = "2_simd_avx2",
               .note = "the same algorithm on 16 lanes: half the instructions",
               .preference = 3,
               .isa = Isa::avx512,
               .writes_formats = true,
               .accepts = accepts_rms_norm,
               .run = gated_rms_norm<BatchAvx512, EncodeAvx512>});
}

}  // namespace kerf::cpu
