// rms_norm by Eigen in packets of 8 (AVX2) floats.
#include "backends/eigen/float_ops.h"

namespace kerf::eigen {
void rms_norm_2_packets_avx2(Registry::Adder);
void rms_norm_2_packets_avx2(Registry::Adder registry) { add_float_op(registry, "rms_norm", Isa::avx2, rms_norm); }
}  // namespace kerf::eigen
