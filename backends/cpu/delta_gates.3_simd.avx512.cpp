// delta_gates, rung 3: simd_delta_gates.h with 16 lanes (AVX-512F).
#include "backends/cpu/batch_avx512.h"
#include "backends/cpu/simd_delta_gates.h"
#include "backends/cpu/simd_rung.h"

namespace kerf::cpu {

void delta_gates_3_simd_avx512(Registry::Adder r);
void delta_gates_3_simd_avx512(Registry::Adder r) {
  add_rung(r, {.op = DeltaGates::name,
               .variant = "3_simd_avx512",
               .improves = "2_simd_avx2",
               .note = "the same algorithm on 16 lanes: half the instructions",
               .preference = 3,
               .isa = Isa::avx512,
               .accepts = accepts_all,
               .run = delta_gates<BatchAvx512>});
}

}  // namespace kerf::cpu
