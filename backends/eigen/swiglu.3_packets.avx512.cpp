// swiglu by Eigen in packets of 16 (AVX-512) floats.
#include "backends/eigen/float_ops.h"

namespace kerf::eigen {
void swiglu_3_packets_avx512(Registry::Adder);
void swiglu_3_packets_avx512(Registry::Adder registry) { add_float_op(registry, "swiglu", Isa::avx512, swiglu); }
}  // namespace kerf::eigen
