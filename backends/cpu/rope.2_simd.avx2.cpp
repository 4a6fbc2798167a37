// rope, rung 2: simd_rope.h with 8 lanes (AVX2, FMA).
#include <immintrin.h>

#include "backends/cpu/simd_rope.h"
#include "backends/cpu/simd_rung.h"

namespace kerf::cpu {
namespace {

struct SwapNeighbours {
  using B = xsimd::batch<float, xsimd::fma3<xsimd::avx2>>;
  static B of(const B& x) { return _mm256_permute_ps(x, 0xB1); }
};

}  // namespace

void rope_2_simd_avx2(Registry::Adder r);
void rope_2_simd_avx2(Registry::Adder r) {
  add_rung(r, {.op = Rope::name,
               .variant = "2_simd_avx2",
               .improves = "1_plain",
               .note = "8 values per instruction; the coefficients of a token are set up once for all heads",
               .preference = 2,
               .isa = Isa::avx2,
               .accepts = accepts_all,
               .run = rope<xsimd::batch<float, xsimd::fma3<xsimd::avx2>>, SwapNeighbours>});
}

}  // namespace kerf::cpu
