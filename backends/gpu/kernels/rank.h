// The largest of many values and its place, as one comparison of integers: what is met in any order has one largest.
#pragma once
#include "backends/gpu/gpu.h"

namespace kerf::KERF_GPU_NS {

/// A number that is larger for a larger value; both zeros are one. That of a NaN is above or below all others, by its sign.
KERF_DEVICE uint32_t ordered(float x) {
  const uint32_t bits = std::bit_cast<uint32_t>(x + 0.0f);
  return bits & 0x80000000u ? ~bits : bits | 0x80000000u;
}
/// Of two equal values the lower id is above. 0 is below every rank of a number.
KERF_DEVICE uint64_t rank(uint32_t key, unsigned id) { return static_cast<uint64_t>(key) << 32 | ~id; }
KERF_DEVICE unsigned id_of(uint64_t rank) { return ~static_cast<unsigned>(rank); }

KERF_DEVICE uint64_t higher(uint64_t a, uint64_t b) { return a > b ? a : b; }
KERF_DEVICE uint64_t warp_highest(uint64_t x) {
  for (unsigned bits = kLanes / 2; bits > 0; bits /= 2) x = higher(x, shfl_xor(x, bits));
  return x;
}

}  // namespace kerf::KERF_GPU_NS
