// kv_write, rung 2: simd_kv_write.h with 8 lanes (AVX2, FMA, F16C).
#include <immintrin.h>

#include "backends/cpu/simd_kv_write.h"
#include "backends/cpu/simd_rung.h"

namespace kerf::cpu {
namespace {

struct ToHalf {
  static void store(const xsimd::batch<float, xsimd::fma3<xsimd::avx2>>& x, uint16_t* out) {
    _mm_storeu_si128(reinterpret_cast<__m128i*>(out), _mm256_cvtps_ph(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
  }
};

}  // namespace

void kv_write_2_simd_avx2(Registry::Adder r);
void kv_write_2_simd_avx2(Registry::Adder r) {
  add_rung(r, {.op = KvWrite::name,
               .variant = "2_simd_avx2",
               .improves = "1_plain",
               .note = "F16C rounds 8 values in one instruction",
               .preference = 2,
               .isa = Isa::avx2,
               .accepts = accepts_kv_write,
               .run = kv_write<xsimd::batch<float, xsimd::fma3<xsimd::avx2>>, ToHalf>});
}

}  // namespace kerf::cpu
