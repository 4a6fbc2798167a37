#include "backends/cpu/simd_rung.h"

#include <string>

#include "backends/cpu/argmax.h"
#include "backends/cpu/causal_conv.h"
#include "backends/cpu/router_select.h"
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
                .writes = rung.writes_formats ? std::vector<DType>{DType::q8_g16, DType::bf16_t16} : std::vector<DType>{},
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

namespace {
Support accepts_output(const TensorDesc& out, int64_t group) {
  const int block = info(out.dtype).block_values;
  return require(group % block == 0, "the output's blocks of 32 do not divide what is computed as one");
}
}  // namespace

Support accepts_rms_norm(const Problem& p) { return accepts_output(p.out[0], p.in[1].cols()); }
Support accepts_elementwise(const Problem& p) { return accepts_output(p.out[0], p.in[0].cols()); }

Support accepts_rope_cache(const Problem& p) {
  for (const size_t state : {size_t{4}, size_t{5}})
    if (auto a = accepts_kv_write({KvWrite{}, {p.in[state]}, {}}); !a) return a;
  return {};
}

Support accepts_router_sum(const Problem& p) {
  const Router& op = router_of(p);
  return require(needs_all(op.renormalize, p.in[0].cols(), op.used), "the chosen weights are divided by their sum: too few exponentials for vectors");
}

size_t argmax_scratch(const Problem& p) { return static_cast<size_t>(p.in[0].rows() * argmax_pieces(p.in[0].cols())) * sizeof(Found); }

Support accepts_causal_conv(const Problem& p) { return require(p.in[1].cols() <= kMostTaps, "the convolution has more than 8 taps"); }

size_t rope_cache_scratch(const Problem& p) { return static_cast<size_t>(p.in[1].size()) * sizeof(float); }

const RmsNorm& rms_norm_of(const Problem& p) { return std::get<RmsNorm>(p.op); }
const Rope& rope_of(const Problem& p) {
  const auto* cache = std::get_if<RopeCache>(&p.op);
  return cache ? cache->rope : std::get<Rope>(p.op);
}

const L2Norm& l2_norm_of(const Problem& p) { return std::get<L2Norm>(p.op); }
const GatedRmsNorm& gated_rms_norm_of(const Problem& p) { return std::get<GatedRmsNorm>(p.op); }
const Router& router_of(const Problem& p) { return std::get<Router>(p.op); }
const GatedDeltaRule& gated_delta_rule_of(const Problem& p) { return std::get<GatedDeltaRule>(p.op); }

}  // namespace kerf::cpu
