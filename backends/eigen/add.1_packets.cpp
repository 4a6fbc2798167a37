// add by Eigen in packets of 4 (SSE2) floats.
#include "backends/eigen/float_ops.h"

namespace kerf::eigen {
void add_1_packets(Registry::Adder);
void add_1_packets(Registry::Adder registry) { add_float_op(registry, "add", Isa::base, add); }
}  // namespace kerf::eigen
