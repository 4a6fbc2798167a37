// matmul by Eigen in packets of 16 (AVX-512) floats.
#include "backends/eigen/matmul.h"

namespace kerf::eigen {
void matmul_3_packets_avx512(Registry::Adder);
void matmul_3_packets_avx512(Registry::Adder registry) { add_matmul(registry, Isa::avx512, matmul); }
}  // namespace kerf::eigen
