// swiglu by Eigen in packets of 8 (AVX2) floats.
#include "backends/eigen/float_ops.h"

namespace kerf::eigen {
void swiglu_2_packets_avx2(Registry::Adder);
void swiglu_2_packets_avx2(Registry::Adder registry) { add_float_op(registry, "swiglu", Isa::avx2, swiglu); }
}  // namespace kerf::eigen
