// l2_norm, rung 2: simd_l2_norm.h with 8 lanes (AVX2, FMA).
#include "backends/cpu/batch_avx2.h"
#include "backends/cpu/simd_l2_norm.h"
#include "backends/cpu/simd_rung.h"

namespace kerf::cpu {

void l2_norm_2_simd_avx2(Registry::Adder r);
void l2_norm_2_simd_avx2(Registry::Adder r) {
  add_rung(r, {.op = L2Norm::name,
               .variant = "2_simd_avx2",
               .improves = "1_plain",
               .note = "four independent vector sums instead of one chain of double additions",
               .preference = 2,
               .isa = Isa::avx2,
               .accepts = accepts_all,
               .run = l2_norm<BatchAvx2>});
}

}  // namespace kerf::cpu
