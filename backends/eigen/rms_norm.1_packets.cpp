// rms_norm by Eigen in packets of 4 (SSE2) floats.
#include "backends/eigen/float_ops.h"

namespace kerf::eigen {
void rms_norm_1_packets(Registry::Adder);
void rms_norm_1_packets(Registry::Adder registry) { add_float_op(registry, "rms_norm", Isa::base, rms_norm); }
}  // namespace kerf::eigen
