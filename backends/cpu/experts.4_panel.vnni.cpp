// expert_matmul, expert_swiglu, expert_matmul_sum with AVX-512 VNNI. Weights stay as the file has them, so that an expert that
// no token needs stays cold; for few tokens they are read by the rows of <type>.3_vnni. For more, an expert has tens of
// tokens where a dense layer has hundreds, so what a token costs beside its dot products counts: a panel is filled as in
// <type>.4_panel, and multiplied as the interleaved forms are (lanes16_dot.h), with what belongs to a group of activations
// alone computed once for all rows of a task.
#include "backends/cpu/batch_avx512.h"
#include "backends/cpu/encode_avx512.h"
#include "backends/cpu/lanes16_dot.h"
#include "backends/cpu/simd_experts.h"
#include "backends/cpu/transpose.h"

namespace kerf::cpu {
void experts_4_panel_vnni(Registry::Adder);
namespace {

/// Sixteen rows as the file has them, which become words of sixteen rows a block at a time.
template <class F>
struct RowSource {
  using R = quant::Interleaved<F>;
  static constexpr int kValues = info(F::dtype).block_values;
  const MatMulArgs& a;
  int64_t first, last;

  void fill(int64_t n, int64_t begin, int64_t end, Panel& panel) const {
    const std::byte* row[16];  // those that the matrix lacks repeat its last
    for (int i = 0; i < 16; ++i) row[i] = a.w + (n + i < a.N ? n + i : a.N - 1) * a.w_bytes + row_bytes(F::dtype, begin);
    const int64_t next = n + 16 < last ? 16 * a.w_bytes : (first - n) * a.w_bytes + row_bytes(F::dtype, kSegment);
    alignas(64) std::byte words[R::kWords * 64];
    uint16_t halves[16];
    for (int64_t k = begin; k < end; k += kValues) {
      for (auto& p : row)
        for (size_t byte = 0; byte < sizeof(typename F::Block); byte += 64) __builtin_prefetch(p + next + byte, 0, 2);
      for (int w = 0; w < R::kWords; w += 4) {
        const int at = w + 4 <= R::kWords ? w : R::kWords - 4;  // the last four once more rather than bytes after the block
        transpose_pieces([&](int i) { return row[i] + R::kWordsAt + 4 * at; },
                         [&](int c, __m512i v) { _mm512_store_si512(words + 64 * (at + c), v); });
      }
      if constexpr (R::kLoneHalf)
        for (int i = 0; i < 16; ++i) std::memcpy(halves + i, row[i] + R::kHalfAt, 2);
      fill_panel<F>(words, reinterpret_cast<const std::byte*>(halves), (k - begin) / 16, panel);
      for (auto& p : row) p += sizeof(typename F::Block);
    }
  }

  Ahead ahead(int64_t, int64_t, int64_t, int64_t) const { return {a.w, 0}; }  // rows are asked for as panels are filled
};

RowsFn panels(DType weights) {
  RowsFn rows = nullptr;
  quant::AffineFormats::visit(weights, [&]<class F>(F) { rows = lanes_panels<F, RowSource<F>>; });
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
