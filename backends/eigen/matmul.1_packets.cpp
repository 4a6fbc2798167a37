// matmul by Eigen in packets of 4 (SSE2) floats.
#include "backends/eigen/matmul.h"

namespace kerf::eigen {
void matmul_1_packets(Registry::Adder);
void matmul_1_packets(Registry::Adder registry) { add_matmul(registry, Isa::base, matmul); }
}  // namespace kerf::eigen
