// Offsets for values that live for a while: two values alive at the same step never share a byte.
#pragma once
#include <cstddef>
#include <cstdint>
#include <vector>

namespace kerf {

struct Lifetime {
  int64_t bytes = 0;
  size_t first = 0, last = 0;  // steps, both included
};

struct ArenaLayout {
  std::vector<int64_t> offsets{};  // one per lifetime, aligned
  int64_t bytes = 0;               // of the whole arena
};

/// Largest first, each at the lowest aligned offset free during its life. Greedy: within a few per cent of the lower
/// bound (the largest sum alive at one step) on transformer graphs, and the same on every machine.
ArenaLayout lay_out(const std::vector<Lifetime>& lifetimes, int64_t alignment);

}  // namespace kerf
