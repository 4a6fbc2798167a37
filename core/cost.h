// What an op costs at least, whoever computes it: arithmetic and bytes that must cross the memory bus once. Benchmarks
// divide by it (GFLOP/s, GB/s, percent of the roof), plans add it up (bytes per token).
#pragma once
#include <cstdint>

#include "core/kernel.h"

namespace kerf {

struct Cost {
  int64_t flops = 0;  // an fma counts as two; exp, sqrt and division as one
  int64_t bytes = 0;  // inputs read once and outputs written once; of tables, caches and experts only what is touched
  Cost& operator+=(const Cost& c) {
    flops += c.flops;
    bytes += c.bytes;
    return *this;
  }
};

/// Of X experts, T tokens that choose U each at random touch X (1 - (1 - U/X)^T); that many are counted.
/// @param depth tokens already in the cache: the problem's tokens are at positions depth, depth + 1, ... (attention only)
Cost cost(const Problem& p, int64_t depth = 0);

}  // namespace kerf
