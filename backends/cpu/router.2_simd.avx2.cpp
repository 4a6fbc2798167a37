// router, rung 2: simd_router.h with 8 lanes (AVX2, FMA).
#include "backends/cpu/batch_avx2.h"
#include "backends/cpu/simd_router.h"
#include "backends/cpu/simd_rung.h"

namespace kerf::cpu {

void router_2_simd_avx2(Registry::Adder r);
void router_2_simd_avx2(Registry::Adder r) {
  add_rung(r, {.op = Router::name,
               .variant = "2_simd_avx2",
               .improves = "1_plain",
               .note = "8 exponentials at a time, where those of all experts are needed",
               .preference = 2,
               .isa = Isa::avx2,
               .accepts = accepts_router_sum,
               .run = router<BatchAvx2>});
}

}  // namespace kerf::cpu
