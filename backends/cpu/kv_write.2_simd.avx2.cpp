// kv_write, rung 2: simd_kv_write.h with 8 lanes (AVX2, FMA, F16C).
#include "backends/cpu/batch_avx2.h"
#include "backends/cpu/simd_kv_write.h"
#include "backends/cpu/simd_rung.h"

namespace kerf::cpu {
void kv_write_2_simd_avx2(Registry::Adder r);
void kv_write_2_simd_avx2(Registry::Adder r) {
  add_rung(r, {.op = KvWrite::name,
               .variant = "2_simd_avx2",
               .improves = "1_plain",
               .note = "F16C rounds 8 values in one instruction",
               .preference = 2,
               .isa = Isa::avx2,
               .accepts = accepts_kv_write,
               .run = kv_write<BatchAvx2>});
}

}  // namespace kerf::cpu
