// attention, rung 2: tiles of queries against chunks of 256 keys (attention/flash.h). Each key and value is loaded once for
// all heads of its group and up to 64 query rows, scores come from a register-blocked product instead of dot products, and
// the maximum is taken once per chunk, so that rescaling is rare. Here: 8 lanes, 4 rows x 2 vectors in registers.
// It costs 192 KiB of stack per thread. Measured on one core (Xeon, model 207), head size 128, 12 query heads on 2: one token
// at 4096 keys 0.50 ms in f16 and 0.62 ms in f32, rung 1: 14.5 and 2.4 ms; 512 tokens from scratch 11.2 ms, 73 GFLOP/s.
#include <immintrin.h>

#include "backends/cpu/attention_tiled.h"
#include "backends/cpu/simd_rung.h"

namespace kerf::cpu {
namespace {

struct Avx2 {
  using V = __m256;
  static constexpr int64_t width = 8;
  static constexpr int max_rows = 4;
  static V load(const float* p) { return _mm256_loadu_ps(p); }
  static V load(const uint16_t* p) { return _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))); }
  static void store(float* p, V v) { _mm256_storeu_ps(p, v); }
  static V all(float x) { return _mm256_set1_ps(x); }
  static V add(V a, V b) { return _mm256_add_ps(a, b); }
  static V mul(V a, V b) { return _mm256_mul_ps(a, b); }
  static V fma(V a, V b, V c) { return _mm256_fmadd_ps(a, b, c); }
  static V max(V a, V b) { return _mm256_max_ps(a, b); }
  static V round(V v) { return _mm256_round_ps(v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
  static V zero_below(V x, V limit, V y) { return _mm256_andnot_ps(_mm256_cmp_ps(x, limit, _CMP_LT_OQ), y); }
  static V times_pow2(V v, V n) {
    return _mm256_mul_ps(v, _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(127)), 23)));
  }
  /// 8 x 8: pairs of rows, then quarters, then halves.
  static void transpose(V* r) {
    V t[8];
    for (int i = 0; i < 8; i += 2) {
      t[i] = _mm256_unpacklo_ps(r[i], r[i + 1]);
      t[i + 1] = _mm256_unpackhi_ps(r[i], r[i + 1]);
    }
    for (int i = 0; i < 8; i += 4)
      for (int j = 0; j < 2; ++j) {
        r[i + 2 * j] = _mm256_shuffle_ps(t[i + j], t[i + 2 + j], _MM_SHUFFLE(1, 0, 1, 0));
        r[i + 2 * j + 1] = _mm256_shuffle_ps(t[i + j], t[i + 2 + j], _MM_SHUFFLE(3, 2, 3, 2));
      }
    for (int i = 0; i < 4; ++i) {
      t[i] = _mm256_permute2f128_ps(r[i], r[i + 4], 0x20);
      t[i + 4] = _mm256_permute2f128_ps(r[i], r[i + 4], 0x31);
    }
    for (int i = 0; i < 8; ++i) r[i] = t[i];
  }
};
static_assert(attention::Lanes<Avx2>);

}  // namespace

void attention_2_tiled_avx2(Registry::Adder registry);
void attention_2_tiled_avx2(Registry::Adder registry) {
  add_rung(registry, {.op = Attention::name,
                      .variant = "2_tiled.avx2",
                      .improves = "1_online",
                      .note = "tiles of queries x chunks of keys: a key is loaded once for 64 rows, not once per head and token",
                      .preference = 2,
                      .isa = Isa::avx2,
                      .accepts = attention_accepts,
                      .run = run_tiled_attention<Avx2>,
                      .scratch_bytes = attention_scratch});
}

}  // namespace kerf::cpu
