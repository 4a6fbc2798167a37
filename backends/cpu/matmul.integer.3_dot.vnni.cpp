// <type>.3_vnni: AVX-512 VNNI. vpdpbusd multiplies 64 unsigned codes with 64 signed activations and adds them by fours;
// four of them are a strip of 256 weights. Four lanes belong to one group of 16, and a 4x4 transposition by adds brings the
// sixteen group sums into one register, so that scales, minima and offsets of a strip cost one instruction each.
#include "backends/cpu/dot_unpack_avx512.h"

namespace kerf::cpu {
void matmul_integer_3_dot_vnni(Registry::Adder);
namespace {

struct Vnni {
  static constexpr int kRows = 4;
  struct Sum {
    __m512 lanes;
  };
  static Sum zero() { return {_mm512_setzero_ps()}; }

  template <class F, int G>
  static Strip512 unpack(const typename F::Block* block) {
    return Unpack512<F>::template strip<kBlocksOf<F, G>>(block);
  }

  static __m512i products(__m512i code, __m512i q) { return _mm512_dpbusd_epi32(_mm512_setzero_si512(), code, q); }

  /// Lane g: sum of code*q over group g. load(c) is register c of the activations.
  template <class Load>
  static __m512i group_sums(const Strip512& s, Load load) {
    const __m512i a = products(s.code[0], load(0)), b = products(s.code[1], load(1)), c = products(s.code[2], load(2)),
                  d = products(s.code[3], load(3));
    const __m512i ab = _mm512_add_epi32(_mm512_unpacklo_epi32(a, b), _mm512_unpackhi_epi32(a, b));
    const __m512i cd = _mm512_add_epi32(_mm512_unpacklo_epi32(c, d), _mm512_unpackhi_epi32(c, d));
    const __m512i abcd = _mm512_add_epi32(_mm512_unpacklo_epi64(ab, cd), _mm512_unpackhi_epi64(ab, cd));  // lane 4j+v: group 4v+j
    return _mm512_permutexvar_epi32(_mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15), abcd);
  }

  template <class F, int G>
  static void add(Sum& sum, const Strip512& s, const ActivationRow& x) {
    if constexpr (G == kGroups) {
      const __m512i dot = group_sums(s, [&](int c) { return _mm512_loadu_si512(x.q + 64 * c); });
      add_scaled<F>(sum, s, dot, _mm512_loadu_ps(x.d), _mm512_loadu_ps(x.sum));
    } else {
      constexpr __mmask16 kPresent = (1u << G) - 1;
      const __m512i dot = group_sums(s, [&](int c) { return tail_register<G>(x.q, c); });
      add_scaled<F>(sum, s, dot, _mm512_maskz_loadu_ps(kPresent, x.d), _mm512_maskz_loadu_ps(kPresent, x.sum));
    }
  }

  /// Values 64 c .. 64 c + 63 of the 16 G that are there, and zeros.
  template <int G>
  static __m512i tail_register(const int8_t* q, int c) {
    if (4 * c + 4 <= G) return _mm512_loadu_si512(q + 64 * c);
    return 4 * c < G ? _mm512_zextsi256_si512(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(q + 64 * c))) : _mm512_setzero_si512();
  }

  /// The sixteen groups' shares of the sum.
  template <class F>
  static void add_scaled(Sum& sum, const Strip512& s, __m512i dots, __m512 d, __m512 sums) {
    __m512 dot = _mm512_cvtepi32_ps(dots);
    if constexpr (F::kOffset != 0) dot = _mm512_fnmadd_ps(_mm512_set1_ps(F::kOffset), sums, dot);  // exact: integers below 2^24
    __m512 share = _mm512_mul_ps(s.scale, dot);
    if constexpr (F::kHasMin) share = _mm512_fnmadd_ps(s.min, sums, share);
    sum.lanes = _mm512_fmadd_ps(d, share, sum.lanes);
  }

  template <int N>
  static void add_totals(const Sum (&sum)[N], float (&y)[N]) {
    if constexpr (N == 4)
      _mm_storeu_ps(y, _mm_add_ps(_mm_loadu_ps(y), sum_lanes(sum[0].lanes, sum[1].lanes, sum[2].lanes, sum[3].lanes)));
    else
      for (int n = 0; n < N; ++n) y[n] += sum_lanes(sum[n].lanes);
  }
};

template <class F>
void run(const Problem&, const Call& call) {
  run_rows(call, Vnni::kRows, dot_rows<F, Vnni>);
}

}  // namespace

RowsFn vnni_rows(DType weights) {
  RowsFn rows = nullptr;
  quant::AffineFormats::visit(weights, [&]<class F>(F) { rows = dot_rows<F, Vnni>; });
  return rows;
}

void matmul_integer_3_dot_vnni(Registry::Adder registry) {
  quant::AffineFormats::for_each([&]<class F>(F) {
    add_integer_rung(registry, F::dtype,
                     {.step = "3_vnni",
                      .improves = "2_avx2",
                      .note = "64 products and their sums by fours in one instruction, no 16-bit step that could saturate",
                      .preference = 30,
                      .isa = Isa::vnni},
                     run<F>);
  });
}

}  // namespace kerf::cpu
