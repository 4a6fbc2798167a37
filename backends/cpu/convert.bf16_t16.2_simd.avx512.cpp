// convert bf16_t16.2_simd_avx512: a row's 32 values in two registers, rounded with integers, and rows become columns of pairs.
// Same bits as the definition (core/half.h), NaN and subnormals included, which vcvtneps2bf16 would turn into zeros.
#include "backends/cpu/convert.h"
#include "backends/cpu/simd_rung.h"
#include "backends/cpu/transpose.h"

namespace kerf::cpu {
void convert_bf16_t16_2_simd_avx512(Registry::Adder);
namespace {

/// The upper halves of the lanes, rounded.
__m256i to_bf16(const float* x) {
  const __m512 v = _mm512_loadu_ps(x);
  const __m512i bits = _mm512_castps_si512(v), odd = _mm512_and_si512(_mm512_srli_epi32(bits, 16), _mm512_set1_epi32(1));
  const __m512i rounded = _mm512_add_epi32(_mm512_add_epi32(bits, _mm512_set1_epi32(0x7FFF)), odd);
  const __m512i kept = _mm512_mask_or_epi32(rounded, _mm512_cmp_ps_mask(v, v, _CMP_UNORD_Q), bits, _mm512_set1_epi32(0x400000));
  return _mm512_cvtepi32_epi16(_mm512_srli_epi32(kept, 16));
}

void encode_tile(const float* x, int64_t stride, int rows, std::byte* tile) {
  alignas(64) std::byte row[16 * 64];
  for (int t = 0; t < 16; ++t) {
    __m512i v = _mm512_setzero_si512();
    if (t < rows) v = _mm512_inserti64x4(_mm512_castsi256_si512(to_bf16(x + t * stride)), to_bf16(x + t * stride + 16), 1);
    _mm512_store_si512(row + 64 * t, v);
  }
  transpose_rows(row, 64, [&](int c, __m512i v) { _mm512_storeu_si512(tile + 64 * c, v); });
}

void run(const Problem&, const Call& call) { run_encode_tiles(call, encode_tile); }

}  // namespace

void convert_bf16_t16_2_simd_avx512(Registry::Adder registry) {
  add_rung(registry, {.op = Convert::name,
                      .variant = "bf16_t16.2_simd_avx512",
                      .improves = "bf16_t16.1_generic",
                      .note = "32 values rounded at once; a tile's rows become columns in 32 shuffles",
                      .preference = 2,
                      .isa = Isa::avx512,
                      .accepts = accepts_encode_tiles,
                      .run = run});
}

}  // namespace kerf::cpu
