// router, rung 3: simd_router.h with 16 lanes (AVX-512F).
#include "backends/cpu/batch_avx512.h"
#include "backends/cpu/simd_router.h"
#include "backends/cpu/simd_rung.h"

namespace kerf::cpu {

void router_3_simd_avx512(Registry::Adder r);
void router_3_simd_avx512(Registry::Adder r) {
  add_rung(r, {.op = Router::name,
               .variant = "3_simd_avx512",
               .improves = "2_simd_avx2",
               .note = "the same algorithm on 16 lanes: half the instructions",
               .preference = 3,
               .isa = Isa::avx512,
               .accepts = accepts_router_sum,
               .run = router<BatchAvx512>});
}

}  // namespace kerf::cpu
