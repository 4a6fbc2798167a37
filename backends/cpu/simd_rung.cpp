#include "backends/cpu/simd_rung.h"

#include <string>

namespace kerf::cpu {

void add_rung(Registry::Adder registry, const Rung& rung) {
  registry.add({.op = rung.op,
                .variant = std::string(rung.variant),
                .improves = std::string(rung.improves),
                .note = rung.note,
                .preference = rung.preference,
                .isa = rung.isa,
                .accepts = rung.accepts,
                .scratch_bytes = rung.scratch_bytes,
                .run = rung.run});
}

Support accepts_all(const Problem&) { return {}; }

Support accepts_kv_write(const Problem& p) {
  const DType state = p.in[0].dtype;
  return require(state == DType::f32 || state == DType::f16 || state == DType::bf16, "the state is not f32, f16 or bf16");
}

const RmsNorm& rms_norm_of(const Problem& p) { return std::get<RmsNorm>(p.op); }
const Rope& rope_of(const Problem& p) { return std::get<Rope>(p.op); }

}  // namespace kerf::cpu
