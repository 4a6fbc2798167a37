// bf16: both operands rounded to bf16 (8 significant bits), products exact, sums in f32. Without AMX this is VDPBF16PS,
// which on current Xeons does half the operations per second of an f32 multiply-add: kept for comparison, so f32 goes first.
#include <algorithm>

#include "backends/onednn/library.h"
#include "backends/onednn/panels.h"

namespace kerf::onednn {
void matmul_bf16(Registry::Adder);

void matmul_bf16(Registry::Adder registry) {
  cap_isa();
  registry.add({.op = MatMul::name,
                .variant = "bf16",
                .note = "oneDNN's bf16 GEMM (gemm:jit): activations and weights rounded to bf16, sums in f32; AVX-512 only, never AMX",
                .preference = 1,
                .isa = std::max(Isa::avx512, isa_in_use()),  // oneDNN has no bf16 products below
                .unit = 0x1p-8,
                .accepts = accepts_panels,
                .scratch_bytes = [](const Problem& p) { return panel_scratch(p, Operands::bf16); },
                .run = [](const Problem& p, const Call& call) { run_panels(p, call, Operands::bf16); }});
}

}  // namespace kerf::onednn
