#include "backends/cpu/simd_rung.h"

#include <string>

#include "quant/encode.h"

namespace kerf::cpu {

void add_rung(Registry::Adder registry, const Rung& rung) {
  registry.add({.op = rung.op,
                .variant = std::string(rung.variant),
                .improves = std::string(rung.improves),
                .note = rung.note,
                .preference = rung.preference,
                .isa = rung.isa,
                .unit = rung.unit,
                .accepts = rung.accepts,
                .scratch_bytes = rung.scratch_bytes,
                .run = rung.run});
}

Support accepts_all(const Problem&) { return {}; }

Support accepts_kv_write(const Problem& p) {
  const TensorDesc& state = p.in[0];
  if (auto a = require(quant::is_cache_type(state.dtype), "the state is not f32, f16, bf16, q8_0, q5_1, q5_0, q4_1 or q4_0"); !a) return a;
  return require(state.cols() % info(state.dtype).block_values == 0, "the head is not a whole number of the format's blocks of 32");
}

const RmsNorm& rms_norm_of(const Problem& p) { return std::get<RmsNorm>(p.op); }
const Rope& rope_of(const Problem& p) { return std::get<Rope>(p.op); }

}  // namespace kerf::cpu
