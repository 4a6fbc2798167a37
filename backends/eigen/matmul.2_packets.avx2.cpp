// matmul by Eigen in packets of 8 (AVX2) floats.
#include "backends/eigen/matmul.h"

namespace kerf::eigen {
void matmul_2_packets_avx2(Registry::Adder);
void matmul_2_packets_avx2(Registry::Adder registry) { add_matmul(registry, Isa::avx2, matmul); }
}  // namespace kerf::eigen
