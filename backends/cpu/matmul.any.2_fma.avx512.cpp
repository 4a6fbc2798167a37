// any.2_fma_avx512: 16-lane fused multiply-add; 8 rows x 3 tokens keep 24 of the 32 registers busy with sums. Weights
// stored as floats go to registers as they are read (dot_direct.h); others a segment at a time by way of L1 (dot_float.h).
// For many tokens the lanes are rows, and 64 rows by 6 tokens share the registers (dot_panel.h).
#include "backends/cpu/dot_direct.h"
#include "backends/cpu/dot_panel.h"
#include "backends/cpu/dot_unpack_avx512.h"
#include "backends/cpu/simd_rung.h"

namespace kerf::cpu {
void matmul_any_2_fma_avx512(Registry::Adder);
namespace {

struct Avx512 {
  static constexpr int kLanes = 16, kRows = 8, kTokens = 3;
  static constexpr int64_t kDirectTokens = 31;
  using Reg = __m512;
  static Reg zero() { return _mm512_setzero_ps(); }
  static Reg load(const float* p) { return _mm512_loadu_ps(p); }
  static Reg load_first(const float* p, int64_t n) { return _mm512_maskz_loadu_ps(static_cast<__mmask16>((1u << n) - 1), p); }
  static Reg fma(Reg a, Reg b, Reg c) { return _mm512_fmadd_ps(a, b, c); }
  /// Eight sums at once, two registers becoming one in each round: halves, quarters, pairs, neighbours.
  static void totals(const Reg (&a)[kRows], float (&out)[kRows]) {
    Reg two[4], four[2];  // 8 lanes of two rows, 4 lanes of four rows
    for (int i = 0; i < 4; ++i)
      two[i] = _mm512_add_ps(_mm512_shuffle_f32x4(a[2 * i], a[2 * i + 1], 0x44), _mm512_shuffle_f32x4(a[2 * i], a[2 * i + 1], 0xEE));
    for (int i = 0; i < 2; ++i)
      four[i] = _mm512_add_ps(_mm512_shuffle_f32x4(two[2 * i], two[2 * i + 1], 0x88), _mm512_shuffle_f32x4(two[2 * i], two[2 * i + 1], 0xDD));
    const Reg eight = _mm512_add_ps(_mm512_shuffle_ps(four[0], four[1], 0x44), _mm512_shuffle_ps(four[0], four[1], 0xEE));
    const Reg sums = _mm512_add_ps(eight, _mm512_permute_ps(eight, 0xB1));  // block j: row j, row j, row 4+j, row 4+j
    _mm256_storeu_ps(out, _mm512_castps512_ps256(_mm512_permutexvar_ps(_mm512_setr_epi32(0, 4, 8, 12, 2, 6, 10, 14, 0, 0, 0, 0, 0, 0, 0, 0), sums)));
  }
};

/// Sixteen values of a type of one value per block.
inline __m512 sixteen(const quant::F32::Block* p) { return _mm512_loadu_ps(&p->value); }
inline __m512 sixteen(const quant::F16::Block* p) { return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p))); }
inline __m512 sixteen(const quant::BF16::Block* p) {
  return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p))), 16));
}

struct ByVector {
  /// As many values as a register has lanes, of a type of one value per block.
  template <class F>
  static auto vector(const typename F::Block* p) {
    return sixteen(p);
  }

  template <class F>
  static void values(const typename F::Block* block, int64_t n, int64_t ahead, float* out) {
    if constexpr (info(F::dtype).block_values == 1) {
      int64_t i = 0;
      for (; i + 16 <= n; i += 16) {
        __builtin_prefetch(reinterpret_cast<const char*>(block + i) + ahead, 0, 3);
        _mm512_storeu_ps(out + i, sixteen(block + i));
      }
      for (; i < n; ++i) out[i] = F::at(block[i], 0);
    } else {
      int64_t i = 0;
      for (; i + kStrip <= n; i += kStrip, block += kStripBlocks<F>) {
        for (int64_t byte = 0; byte < kStripBytes<F>; byte += 64) __builtin_prefetch(reinterpret_cast<const char*>(block) + ahead + byte, 0, 3);
        strip<F>(Unpack512<F>::strip(block), out + i);
      }
      quant::decode_row<F>(block, n - i, out + i);
    }
  }

  template <class F>
  static void strip(const Strip512& s, float* out) {
    alignas(64) float scale[16], min[16];
    alignas(64) uint8_t code[kStrip];
    _mm512_store_ps(scale, s.scale);
    // scale * kOffset is exact (at most 18 + 8 bits), so code * scale - it rounds once, like scale * (code - offset).
    _mm512_store_ps(min, F::kHasMin ? s.min : _mm512_mul_ps(s.scale, _mm512_set1_ps(F::kOffset)));
    for (int c = 0; c < 4; ++c) _mm512_store_si512(code + 64 * c, s.code[c]);
    for (int g = 0; g < 16; ++g) {
      const __m512 value = _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(_mm_load_si128(reinterpret_cast<const __m128i*>(code + 16 * g))));
      _mm512_storeu_ps(out + 16 * g, _mm512_fmsub_ps(value, _mm512_set1_ps(scale[g]), _mm512_set1_ps(min[g])));
    }
  }
};

/// A panel costs as much as multiplying it with about eight tokens. Quantized weights have to pass L1 anyway: from 12 tokens on
/// panels are faster (q4_k: 61 GFLOP/s with 60 before). Weights stored as floats do 75 to 87 without, which panels reach at 32.
template <class F>
inline constexpr int64_t kPanelsFrom = info(F::dtype).block_values == 1 ? Avx512::kDirectTokens + 1 : 12;

/// Rows that fill no panel take the way of few tokens; the order of additions is the same.
template <class F>
void rows_of(const MatMulArgs& a, int64_t first, int64_t last) {
  if (a.T >= kPanelsFrom<F>) first = panel_rows<F, ByVector, 2>(a, panel_rows<F, ByVector, 4>(a, first, last), last);
  if (first < last) float_or_direct_rows<F, Avx512, ByVector>(a, first, last);
}

void run(const Problem&, const Call& call) {
  quant::Formats::visit(call.in[1].desc.dtype,
                        [&]<class F>(F) { run_panels(call, Avx512::kRows, FloatPanel<2>::kRows, kPanelsFrom<F>, rows_of<F>); });
}

}  // namespace

RowsFn avx512_float_rows(DType weights) {
  RowsFn rows = nullptr;
  quant::Formats::visit(weights, [&]<class F>(F) { rows = rows_of<F>; });
  return rows;
}

void matmul_any_2_fma_avx512(Registry::Adder registry) {
  add_rung(registry,
           {.op = MatMul::name,
            .variant = "any.2_fma_avx512",
            .improves = "any.1_fma_avx2",
            .note = "16 weights at a time, 24 sums held in registers: 8 rows by 3 tokens, fewer rows by up to 6, or 64 rows by 6 from a panel",
            .preference = 2,
            .isa = Isa::avx512,
            .accepts = accepts_float,
            .run = run});
}

}  // namespace kerf::cpu
