// kv_write, rung 3: simd_kv_write.h with 16 lanes (AVX-512F).
#include <immintrin.h>

#include "backends/cpu/simd_kv_write.h"
#include "backends/cpu/simd_rung.h"

namespace kerf::cpu {
namespace {

struct ToHalf {
  static void store(const xsimd::batch<float, xsimd::avx512f>& x, uint16_t* out) {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(out), _mm512_cvtps_ph(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
  }
};

}  // namespace

void kv_write_3_simd_avx512(Registry::Adder r);
void kv_write_3_simd_avx512(Registry::Adder r) {
  add_rung(r, {.op = KvWrite::name,
               .variant = "3_simd_avx512",
               .improves = "2_simd_avx2",
               .note = "the same algorithm on 16 lanes: half the instructions",
               .preference = 3,
               .isa = Isa::avx512,
               .accepts = accepts_kv_write,
               .run = kv_write<xsimd::batch<float, xsimd::avx512f>, ToHalf>});
}

}  // namespace kerf::cpu
