// rms_norm by Eigen in packets of 16 (AVX-512) floats.
#include "backends/eigen/float_ops.h"

namespace kerf::eigen {
void rms_norm_3_packets_avx512(Registry::Adder);
void rms_norm_3_packets_avx512(Registry::Adder registry) { add_float_op(registry, "rms_norm", Isa::avx512, rms_norm); }
}  // namespace kerf::eigen
