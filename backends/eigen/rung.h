// What the files for an instruction set share without vector code: registration (as in backends/cpu, anything with
// std::string in it is compiled once, without vector flags) and how a matmul is cut into tasks.
#pragma once
#include <cstdint>
#include <string_view>

#include "core/kernel.h"

namespace kerf::eigen {

using RunFn = void (*)(const Problem&, const Call&);

/// Adds the rung of an instruction set, all of which are the same source: "1_packets_sse2", "2_packets_avx2", ...
void add_matmul(Registry::Adder registry, Isa isa, RunFn run);
void add_float_op(Registry::Adder registry, std::string_view op, Isa isa, RunFn run);

float rms_norm_eps(const Problem& p);

/// A matmul is cut into panels of `rows` rows of weights; formats other than f32 are decoded `depth` columns at a time
/// into the scratch of a slot. Slot i computes the panels i, i + slots, ...
struct Cut {
  int64_t rows = 0, depth = 0, panels = 0, slots = 0;
  int64_t pitch = 0;  // floats between two rows of decoded weights
};
Cut cut_of(const Problem& p);

}  // namespace kerf::eigen
