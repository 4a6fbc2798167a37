// expert_matmul, expert_swiglu, expert_matmul_sum with AVX-512 VNNI. Weights stay as the file has them, so that an expert that
// no token needs stays cold; for few tokens they are read by the rows of <type>.3_vnni. For more, an expert has tens of
// tokens where a dense layer has hundreds, so what a token costs beside its dot products counts: a panel is filled as in
// <type>.4_panel, and multiplied as the interleaved forms are (lanes16_dot.h), with what belongs to a group of activations
// alone computed once for all rows of a task.
#include "backends/cpu/batch_avx512.h"
#include "backends/cpu/encode_avx512.h"
#include "backends/cpu/lanes16_dot.h"
#include "backends/cpu/panel_unpack.h"
#include "backends/cpu/simd_experts.h"

namespace kerf::cpu {
void experts_4_panel_vnni(Registry::Adder);
namespace {

constexpr std::array<float, 16> kNoShift = [] {
  std::array<float, 16> ones{};
  ones.fill(1);
  return ones;
}();

/// Rows [first, last) for any number of tokens; a task of an expert brings at most kPanelBlock.
template <class F>
void plain_panels(const MatMulArgs& a, int64_t first, int64_t last) {
  using K = AnyKind<F>;
  Panel panel;
  GroupTerms terms[kPanelBlock];
  Ahead nothing{a.w, 0};
  for (int64_t t0 = 0; t0 < a.T; t0 += kPanelBlock) {
    const int64_t t1 = t0 + kPanelBlock < a.T ? t0 + kPanelBlock : a.T;
    for (int64_t begin = 0; begin < a.K; begin += kSegment) {
      const int64_t end = begin + kSegment < a.K ? begin + kSegment : a.K, groups = (end - begin) / 16;
      for (int64_t t = t0; t < t1; ++t) group_terms<F>(activations(a, t), a.K, begin, groups, terms[t - t0], kNoShift);
      for (int64_t n = first; n < last; n += kPanelLanes) {
        const typename F::Block* row[kPanelLanes];
        panel_rows_of<F>(a, n, row);
        const int64_t next = n + kPanelLanes < last ? kPanelLanes * a.w_bytes : (first - n) * a.w_bytes + row_bytes(F::dtype, kSegment);
        for (int64_t k = begin; k < end; k += kStrip) {
          const auto g0 = (k - begin) / 16;
          unpack_panel_strip<F>(
              row, k / kStrip, a.K, next, [&](int g, int quad, __m512i code) { _mm512_store_si512(panel.code[g0 + g][quad], code); },
              [&](int g, __m512 scale) { _mm512_store_ps(panel.scale[g0 + g], scale); },
              [&](int g, __m512 min) { _mm512_store_ps(panel.min[g0 + g], min); });
        }
        for (int64_t t = t0; t < t1; t += kDirectTokens)
          with_tokens(t1 - t, [&]<int T>() { panel_tokens<K, T>(a, panel, n, begin, groups, t, terms + (t - t0), nothing); });
      }
    }
  }
}

RowsFn panels(DType weights) {
  RowsFn rows = nullptr;
  quant::AffineFormats::visit(weights, [&]<class F>(F) { rows = plain_panels<F>; });
  return rows;
}

}  // namespace

void experts_4_panel_vnni(Registry::Adder registry) {
  add_expert_rungs(registry,
                   {.variant = "q8.4_vnni",
                    .improves = "q8.2_avx2",
                    .note = "64 products in one instruction; from 8 tokens of an expert on, sixteen rows are transposed into lanes for all of them",
                    .preference = 30,
                    .isa = Isa::vnni,
                    .weights = ExpertWeights::affine,
                    .coded = true},
                   [](const Problem& p, const Call& call) { run_experts(p, call, expert_code<BatchAvx512, EncodeAvx512>(vnni_rows, panels)); });
  add_expert_rungs(registry,
                   {.variant = "q8_r16.4_vnni",
                    .improves = "q8.4_vnni",
                    .note = "sixteen rows interleaved at load: no transposition, and one token streams at the speed of memory",
                    .preference = 40,
                    .isa = Isa::vnni,
                    .weights = ExpertWeights::interleaved,
                    .coded = true},
                   [](const Problem& p, const Call& call) {
                     run_experts(p, call, expert_code<BatchAvx512, EncodeAvx512>(vnni_interleaved_rows, vnni_interleaved_rows));
                   });
}

}  // namespace kerf::cpu
