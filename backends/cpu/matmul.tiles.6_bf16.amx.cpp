// <type>.6_amx of matmul, 6_amx of matmuls and matmul_swiglu: products of bf16 tiles, 512 multiplications and additions per
// cycle. The types differ in how a panel is unpacked; the rest is one piece of code.
#include "backends/cpu/amx_panel.h"

namespace kerf::cpu {
void matmul_tiles_6_bf16_amx(Registry::Adder);
namespace {

void set_unpacker(AmxWeights& w, DType type) {
  quant::Formats::for_each([&]<class F>(F) {
    if (type == F::dtype) w.unpack = Rows<F>::unpack, w.ask = Rows<F>::ask;
    if constexpr (quant::AffineFormat<F>)
      if (type == quant::Interleaved<F>::dtype) w.unpack = InterleavedRows<F>::unpack, w.ask = InterleavedRows<F>::ask;
  });
}

void panels(const AmxProduct& p, const AmxBlock& block, int64_t first, int64_t last) { PanelRange(p, block).run(first, last); }

void run(const Problem& p, const Call& call) { run_amx(p, call, amx_bf16_code()); }

}  // namespace

AmxCode amx_bf16_code() { return {set_unpacker, panels}; }

void matmul_tiles_6_bf16_amx(Registry::Adder registry) {
  quant::Formats::for_each([&]<class F>(F) {
    add_amx_rung(registry, F::dtype, run);
    if constexpr (quant::AffineFormat<F>) add_amx_rung(registry, quant::Interleaved<F>::dtype, run);
  });
  add_amx_fused_rungs(registry, run);
}

}  // namespace kerf::cpu
