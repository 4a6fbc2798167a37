// <type>.3_vnni: AVX-512 VNNI. vpdpbusd multiplies 64 unsigned codes with 64 signed activations and adds them by fours;
// four of them are a strip of 256 weights. Four lanes belong to one group of 16, and a 4x4 transposition by adds brings the
// sixteen group sums into one register, so that scales, minima and offsets of a strip cost one instruction each.
#include "backends/cpu/dot_unpack_avx512.h"

namespace kerf::cpu {
void matmul_integer_3_dot_vnni(Registry::Adder);
namespace {

struct Vnni {
  struct Sum {
    __m512 lanes;
  };
  static Sum zero() { return {_mm512_setzero_ps()}; }

  template <class F>
  static Strip512 unpack(const typename F::Block* block) {
    return Unpack512<F>::strip(block);
  }

  static __m512i products(__m512i code, const int8_t* q) { return _mm512_dpbusd_epi32(_mm512_setzero_si512(), code, _mm512_loadu_si512(q)); }

  /// Lane g: sum of code*q over group g.
  static __m512i group_sums(const Strip512& s, const int8_t* q) {
    const __m512i a = products(s.code[0], q), b = products(s.code[1], q + 64), c = products(s.code[2], q + 128), d = products(s.code[3], q + 192);
    const __m512i ab = _mm512_add_epi32(_mm512_unpacklo_epi32(a, b), _mm512_unpackhi_epi32(a, b));
    const __m512i cd = _mm512_add_epi32(_mm512_unpacklo_epi32(c, d), _mm512_unpackhi_epi32(c, d));
    const __m512i abcd = _mm512_add_epi32(_mm512_unpacklo_epi64(ab, cd), _mm512_unpackhi_epi64(ab, cd));  // lane 4j+v: group 4v+j
    return _mm512_permutexvar_epi32(_mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15), abcd);
  }

  template <class F>
  static void add(Sum& sum, const Strip512& s, const ActivationRow& x) {
    const __m512 sums = _mm512_loadu_ps(x.sum);
    __m512 dot = _mm512_cvtepi32_ps(group_sums(s, x.q));
    if constexpr (F::kOffset != 0) dot = _mm512_fnmadd_ps(_mm512_set1_ps(F::kOffset), sums, dot);  // exact: integers below 2^24
    __m512 share = _mm512_mul_ps(s.scale, dot);
    if constexpr (F::kHasMin) share = _mm512_fnmadd_ps(s.min, sums, share);
    sum.lanes = _mm512_fmadd_ps(_mm512_loadu_ps(x.d), share, sum.lanes);
  }

  static float total(const Sum& sum) { return sum_lanes(sum.lanes); }
};

template <class F>
void run(const Problem&, const Call& call) {
  run_rows(call, 1, dot_rows<F, Vnni>);
}

}  // namespace

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
