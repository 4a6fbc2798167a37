// swiglu by Eigen in packets of 4 (SSE2) floats.
#include "backends/eigen/float_ops.h"

namespace kerf::eigen {
void swiglu_1_packets(Registry::Adder);
void swiglu_1_packets(Registry::Adder registry) { add_float_op(registry, "swiglu", Isa::base, swiglu); }
}  // namespace kerf::eigen
