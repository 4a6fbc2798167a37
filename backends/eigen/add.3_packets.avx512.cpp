// add by Eigen in packets of 16 (AVX-512) floats.
#include "backends/eigen/float_ops.h"

namespace kerf::eigen {
void add_3_packets_avx512(Registry::Adder);
void add_3_packets_avx512(Registry::Adder registry) { add_float_op(registry, "add", Isa::avx512, add); }
}  // namespace kerf::eigen
