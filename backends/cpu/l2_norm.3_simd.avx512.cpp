// l2_norm, rung 3: simd_l2_norm.h with 16 lanes (AVX-512F).
#include "backends/cpu/batch_avx512.h"
#include "backends/cpu/simd_l2_norm.h"
#include "backends/cpu/simd_rung.h"

namespace kerf::cpu {

void l2_norm_3_simd_avx512(Registry::Adder r);
void l2_norm_3_simd_avx512(Registry::Adder r) {
  add_rung(r, {.op = L2Norm::name,
               .variant = "3_simd_avx512",
               .improves = "2_simd_avx2",
               .note = "the same algorithm on 16 lanes: half the instructions",
               .preference = 3,
               .isa = Isa::avx512,
               .accepts = accepts_all,
               .run = l2_norm<BatchAvx512>});
}

}  // namespace kerf::cpu
