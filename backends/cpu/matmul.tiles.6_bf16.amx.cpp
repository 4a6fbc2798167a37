// <type>.6_amx: products of bf16 tiles, 512 multiplications and additions per cycle.
#include "backends/cpu/amx_panel.h"

namespace kerf::cpu {
void matmul_tiles_6_bf16_amx(Registry::Adder);
namespace {

template <class Weights>
void run(const Problem&, const Call& call) {
  run_amx(call, amx_panels<Weights>);
}

}  // namespace

void matmul_tiles_6_bf16_amx(Registry::Adder registry) {
  quant::Formats::for_each([&]<class F>(F) {
    add_amx_rung(registry, F::dtype, run<Rows<F>>);
    if constexpr (quant::AffineFormat<F>) add_amx_rung(registry, quant::Interleaved<F>::dtype, run<InterleavedRows<F>>);
  });
}

}  // namespace kerf::cpu
