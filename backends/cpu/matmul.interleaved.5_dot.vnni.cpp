// <type>_r16.5_vnni: weights with sixteen rows interleaved, whose words are already what vpdpbusd reads in lanes that are
// rows. Against <type>.3_vnni no shuffles and no sums across lanes: decoding one token takes about a third of the
// instructions and runs at the speed of memory, and up to eight tokens use each unpacked register. From nine on a segment is
// unpacked into a panel as in <type>.4_panel, without the transposition.
#include "backends/cpu/lanes16_dot.h"

namespace kerf::cpu {
void matmul_interleaved_5_dot_vnni(Registry::Adder);
namespace {

template <class F>
void run(const Problem&, const Call& call) {
  run_rows(call, quant::kTileRows, lanes_rows<F>);
}

}  // namespace

RowsFn vnni_interleaved_rows(DType weights) {
  RowsFn rows = nullptr;
  quant::AffineFormats::for_each([&]<class F>(F) {
    if (weights == quant::Interleaved<F>::dtype) rows = lanes_rows<F>;
  });
  return rows;
}

void matmul_interleaved_5_dot_vnni(Registry::Adder registry) {
  quant::AffineFormats::for_each([&]<class F>(F) {
    add_interleaved_rung(registry, F::dtype,
                         {.step = "5_vnni",
                          .improves = "3_vnni",
                          .note = "sixteen rows interleaved: lanes are rows, no shuffles, one token streams at the speed of memory",
                          .preference = 50,
                          .isa = Isa::vnni},
                         run<F>);
  });
}

}  // namespace kerf::cpu
