// delta_gates, rung 2: simd_delta_gates.h with 8 lanes (AVX2, FMA).
#include "backends/cpu/batch_avx2.h"
#include "backends/cpu/simd_delta_gates.h"
#include "backends/cpu/simd_rung.h"

namespace kerf::cpu {

void delta_gates_2_simd_avx2(Registry::Adder r);
void delta_gates_2_simd_avx2(Registry::Adder r) {
  add_rung(r, {.op = DeltaGates::name,
               .variant = "2_simd_avx2",
               .improves = "1_plain",
               .note = "8 exponentials and logarithms at a time instead of library calls",
               .preference = 2,
               .isa = Isa::avx2,
               .accepts = accepts_all,
               .run = delta_gates<BatchAvx2>});
}

}  // namespace kerf::cpu
