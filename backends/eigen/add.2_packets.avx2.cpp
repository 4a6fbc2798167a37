// add by Eigen in packets of 8 (AVX2) floats.
#include "backends/eigen/float_ops.h"

namespace kerf::eigen {
void add_2_packets_avx2(Registry::Adder);
void add_2_packets_avx2(Registry::Adder registry) { add_float_op(registry, "add", Isa::avx2, add); }
}  // namespace kerf::eigen
