// add, rung 2: simd_add.h with 8 lanes (AVX2, FMA).
#include "backends/cpu/batch_avx2.h"
#include "backends/cpu/simd_add.h"
#include "backends/cpu/simd_rung.h"

namespace kerf::cpu {

void add_2_simd_avx2(Registry::Adder r);
void add_2_simd_avx2(Registry::Adder r) {
  add_rung(r, {.op = Add::name,
               .variant = "2_simd_avx2",
               .improves = "1_plain",
               .note = "8 values per instruction instead of 4",
               .preference = 2,
               .isa = Isa::avx2,
               .accepts = accepts_all,
               .run = add<BatchAvx2>});
}

}  // namespace kerf::cpu
