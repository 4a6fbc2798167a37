// Inputs for testing and timing kernels: bytes that are valid for every op and format, from a 64-bit seed.
#pragma once
#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

#include "core/kernel.h"

namespace kerf {

enum class DataKind : uint8_t {
  exact,        // small integers, power-of-two scales: every partial sum is exact in f32, so order and fma do not matter
  normal,       // random normal values; random codes with scales as real weights have
  adversarial,  // outliers, cancellation, f16 limits, subnormals, -0, constant and zero rows, zero scales, NaN, infinity
};
std::string_view name_of(DataKind kind);

/// Counter-based: value i of a stream depends on (seed, stream, i) only (splitmix64, Steele, Lea, Flood 2014).
class Random {
 public:
  Random(uint64_t seed, uint64_t stream) : state_(seed ^ (stream + 1) * 0x9E3779B97F4A7C15u) {}
  uint64_t bits();
  int64_t below(int64_t n) { return static_cast<int64_t>(bits() % static_cast<uint64_t>(n)); }
  double uniform() { return static_cast<double>(bits() >> 11) * 0x1p-53; }
  double normal();

 private:
  uint64_t state_;
};

struct KernelInputs {
  std::vector<std::vector<std::byte>> bytes;  // one per input of the problem
  /// Parts of state inputs that no token has written yet: whatever is there must not matter.
  struct Hole {
    size_t input, offset, size;
  };
  std::vector<Hole> holes;
};

/// @param depth attention, kv_write, rope_table: position of the first token; below 0: drawn from the seed, positions of
///              rope_table then go up to 131071 and those of the others keep within n_ctx
KernelInputs make_inputs(const Problem& p, DataKind kind, uint64_t seed, int64_t depth = -1);

}  // namespace kerf
