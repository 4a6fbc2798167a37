// <type>.7_fixed: products of int8 tiles, 1024 multiplications and additions per cycle, three for each product of 15-bit numbers.
#include "backends/cpu/fixed_panel.h"

namespace kerf::cpu {
void matmul_tiles_7_fixed_amx(Registry::Adder);
namespace {

template <class F>
void run(const Problem&, const Call& call) {
  run_fixed(call, fixed_panels<F>);
}

}  // namespace

void matmul_tiles_7_fixed_amx(Registry::Adder registry) {
  add_fixed_rung(registry, DType::f32, run<quant::F32>);
  add_fixed_rung(registry, DType::f16, run<quant::F16>);
  add_fixed_rung(registry, DType::bf16, run<quant::BF16>);
}

}  // namespace kerf::cpu
