// <type>.2_avx2: vpmaddubsw multiplies 32 unsigned codes with 32 signed activations and adds pairs in 16 bits, which
// saturate at 32767. Codes of up to 6 bits stay below 2 * 63 * 127 = 16002. Q8_0's are bytes, IQ4's reach 241: 2 * 241 * 127 would
// not fit, so their sign goes to the activations (vpsignb) and their absolute value is the code: 2 * 128 * 127 = 32512 fits.
#include "backends/cpu/dot_unpack_avx2.h"

namespace kerf::cpu {
void matmul_integer_2_maddubs_avx2(Registry::Adder);
namespace {

struct Avx2 {
  static constexpr int kRows = 1;
  struct Sum {
    __m256 half[2];
  };
  static Sum zero() { return {{_mm256_setzero_ps(), _mm256_setzero_ps()}}; }

  template <class F, int G>
  static Strip256 unpack(const typename F::Block* block) {
    return Unpack256<F>::template strip<kBlocksOf<F, G>>(block);
  }

  /// Lane i: sum of code*x over values 4i..4i+3.
  template <class F>
  static __m256i products(__m256i code, __m256i x) {
    const __m256i pairs =
        Unpack256<F>::kSigned ? _mm256_maddubs_epi16(_mm256_abs_epi8(code), _mm256_sign_epi8(x, code)) : _mm256_maddubs_epi16(code, x);
    return _mm256_madd_epi16(pairs, _mm256_set1_epi16(1));
  }

  /// Lane g: sum over group g of the eight groups in four code registers. load(i) is register i of the activations.
  template <class F, class Load>
  static __m256i group_sums(const __m256i* code, Load load) {
    const __m256i ab = _mm256_hadd_epi32(products<F>(code[0], load(0)), products<F>(code[1], load(1)));
    const __m256i cd = _mm256_hadd_epi32(products<F>(code[2], load(2)), products<F>(code[3], load(3)));
    return _mm256_permutevar8x32_epi32(_mm256_hadd_epi32(ab, cd), _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7));  // from even groups, odd groups
  }

  template <class F, int G>
  static void add(Sum& sum, const Strip256& s, const ActivationRow& x) {
    add_half<F, 0, (G < 8 ? G : 8)>(sum, s, x);
    if constexpr (G > 8) add_half<F, 1, G - 8>(sum, s, x);
  }

  template <class F, int H, int G>
  static void add_half(Sum& sum, const Strip256& s, const ActivationRow& x) {
    const __m256i dot = group_sums<F>(s.code + 4 * H, [&](int i) { return 2 * i < G ? load32(x.q + 128 * H + 32 * i) : _mm256_setzero_si256(); });
    if constexpr (G == 8)
      add_scaled<F>(sum, s, H, dot, _mm256_loadu_ps(x.d + 8 * H), _mm256_loadu_ps(x.sum + 8 * H));
    else
      add_scaled<F>(sum, s, H, dot, _mm256_maskload_ps(x.d + 8 * H, lanes_below(G)), _mm256_maskload_ps(x.sum + 8 * H, lanes_below(G)));
  }

  /// The shares of the eight groups of half h of a strip.
  template <class F>
  static void add_scaled(Sum& sum, const Strip256& s, int h, __m256i dots, __m256 d, __m256 sums) {
    __m256 dot = _mm256_cvtepi32_ps(dots);
    if constexpr (F::kOffset != 0 && !Unpack256<F>::kSigned)
      dot = _mm256_fnmadd_ps(_mm256_set1_ps(F::kOffset), sums, dot);  // exact: integers below 2^24
    __m256 share = _mm256_mul_ps(s.scale[h], dot);
    if constexpr (F::kHasMin) share = _mm256_fnmadd_ps(s.min[h], sums, share);
    sum.half[h] = _mm256_fmadd_ps(d, share, sum.half[h]);
  }

  template <int N>
  static void add_totals(const Sum (&sum)[N], float (&y)[N]) {
    for (int n = 0; n < N; ++n) y[n] += sum_lanes(_mm256_add_ps(sum[n].half[0], sum[n].half[1]));
  }
};

template <class F>
void run(const Problem&, const Call& call) {
  run_rows(call, Avx2::kRows, dot_rows<F, Avx2>);
}

}  // namespace

RowsFn avx2_rows(DType weights) {
  RowsFn rows = nullptr;
  quant::AffineFormats::visit(weights, [&]<class F>(F) { rows = dot_rows<F, Avx2>; });
  return rows;
}

void matmul_integer_2_maddubs_avx2(Registry::Adder registry) {
  quant::AffineFormats::for_each([&]<class F>(F) {
    add_integer_rung(registry, F::dtype,
                     {.step = "2_avx2",
                      .improves = "1_generic",
                      .note = "32 products and their sums by pairs in one instruction",
                      .preference = 20,
                      .isa = Isa::avx2},
                     run<F>);
  });
}

}  // namespace kerf::cpu
