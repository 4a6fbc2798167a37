// any.1_fma_avx2: 8-lane fused multiply-add; f16 by F16C, quantized weights a strip of 256 at a time.
#include "backends/cpu/dot_direct.h"
#include "backends/cpu/dot_unpack_avx2.h"
#include "backends/cpu/simd_rung.h"

namespace kerf::cpu {
void matmul_any_1_fma_avx2(Registry::Adder);
namespace {

struct Avx2 {
  static constexpr int kLanes = 8, kRows = 4, kTokens = 3;  // 12 sums, 3 tokens and a weight: 16 registers
  static constexpr int64_t kDirectTokens = 16;
  using Reg = __m256;
  static Reg zero() { return _mm256_setzero_ps(); }
  static Reg load(const float* p) { return _mm256_loadu_ps(p); }
  static Reg load_first(const float* p, int64_t n) {
    const __m256i lanes = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    return _mm256_maskload_ps(p, _mm256_cmpgt_epi32(_mm256_set1_epi32(static_cast<int>(n)), lanes));
  }
  static Reg fma(Reg a, Reg b, Reg c) { return _mm256_fmadd_ps(a, b, c); }
  static void totals(const Reg (&a)[kRows], float (&out)[kRows]) {
    const Reg ab = _mm256_hadd_ps(a[0], a[1]), cd = _mm256_hadd_ps(a[2], a[3]), abcd = _mm256_hadd_ps(ab, cd);
    _mm_storeu_ps(out, _mm_add_ps(_mm256_castps256_ps128(abcd), _mm256_extractf128_ps(abcd, 1)));
  }
};

/// Eight values of a type of one value per block.
inline __m256 eight(const quant::F32::Block* p) { return _mm256_loadu_ps(&p->value); }
inline __m256 eight(const quant::F16::Block* p) { return _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))); }
inline __m256 eight(const quant::BF16::Block* p) {
  return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))), 16));
}

struct ByVector {
  /// As many values as a register has lanes, of a type of one value per block.
  template <class F>
  static auto vector(const typename F::Block* p) {
    return eight(p);
  }

  template <class F>
  static void values(const typename F::Block* block, int64_t n, int64_t ahead, float* out) {
    if constexpr (info(F::dtype).block_values == 1) {
      int64_t i = 0;
      for (; i + 8 <= n; i += 8) {
        __builtin_prefetch(reinterpret_cast<const char*>(block + i) + ahead, 0, 3);
        _mm256_storeu_ps(out + i, eight(block + i));
      }
      for (; i < n; ++i) out[i] = F::at(block[i], 0);
    } else {
      int64_t i = 0;
      for (; i + kStrip <= n; i += kStrip, block += kStripBlocks<F>) {
        for (int64_t byte = 0; byte < kStripBytes<F>; byte += 64) __builtin_prefetch(reinterpret_cast<const char*>(block) + ahead + byte, 0, 3);
        strip<F>(Unpack256<F>::strip(block), out + i);
      }
      quant::decode_row<F>(block, n - i, out + i);
    }
  }

  template <class F>
  static void strip(const Strip256& s, float* out) {
    constexpr float kOffset = Unpack256<F>::kSigned ? 0 : F::kOffset;
    alignas(32) float scale[16], min[16];
    alignas(32) int8_t code[kStrip];
    for (int h = 0; h < 2; ++h) {
      _mm256_store_ps(scale + 8 * h, s.scale[h]);
      // scale * kOffset is exact (at most 18 + 8 bits), so code * scale - it rounds once, like scale * (code - offset).
      _mm256_store_ps(min + 8 * h, F::kHasMin ? s.min[h] : _mm256_mul_ps(s.scale[h], _mm256_set1_ps(kOffset)));
    }
    for (int i = 0; i < 8; ++i) _mm256_store_si256(reinterpret_cast<__m256i*>(code + 32 * i), s.code[i]);
    for (int i = 0; i < kStrip; i += 8) {
      const __m128i bytes = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(code + i));
      const __m256 value = _mm256_cvtepi32_ps(Unpack256<F>::kSigned ? _mm256_cvtepi8_epi32(bytes) : _mm256_cvtepu8_epi32(bytes));
      _mm256_storeu_ps(out + i, _mm256_fmsub_ps(value, _mm256_set1_ps(scale[i / 16]), _mm256_set1_ps(min[i / 16])));
    }
  }
};

}  // namespace

RowsFn avx2_float_rows(DType weights) {
  RowsFn rows = nullptr;
  quant::Formats::visit(weights, [&]<class F>(F) { rows = float_or_direct_rows<F, Avx2, ByVector>; });
  return rows;
}

void matmul_any_1_fma_avx2(Registry::Adder registry) {
  add_rung(registry, {.op = MatMul::name,
                      .variant = "any.1_fma_avx2",
                      .improves = "any.0_decode",
                      .note = "8 weights at a time, 12 sums held in registers: 4 rows by 3 tokens, or fewer rows by up to 12 tokens",
                      .preference = 1,
                      .isa = Isa::avx2,
                      .accepts = accepts_float,
                      .run = run_float_or_direct<Avx2, ByVector>});
}

}  // namespace kerf::cpu
