// f32: oneDNN's f32 GEMM (its name for it is gemm:jit) on weights as floats.
#include "backends/onednn/library.h"
#include "backends/onednn/panels.h"

namespace kerf::onednn {
void matmul_f32(Registry::Adder);

void matmul_f32(Registry::Adder registry) {
  cap_isa();
  registry.add({.op = MatMul::name,
                .variant = "f32",
                .note = "oneDNN's f32 GEMM (gemm:jit) on panels of 256 rows; other formats than f32 are decoded to floats first",
                .preference = 2,
                .isa = isa_in_use(),
                .accepts = accepts_panels,
                .scratch_bytes = [](const Problem& p) { return panel_scratch(p, Operands::f32); },
                .run = [](const Problem& p, const Call& call) { run_panels(p, call, Operands::f32); }});
}

}  // namespace kerf::onednn
