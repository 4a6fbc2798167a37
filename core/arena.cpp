#include "core/arena.h"

#include <algorithm>
#include <numeric>

namespace kerf {

ArenaLayout lay_out(const std::vector<Lifetime>& lifetimes, int64_t alignment) {
  ArenaLayout layout{.offsets = std::vector<int64_t>(lifetimes.size(), 0)};
  std::vector<size_t> order(lifetimes.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) { return lifetimes[a].bytes > lifetimes[b].bytes; });
  const auto padded = [&](int64_t bytes) { return (bytes + alignment - 1) / alignment * alignment; };

  struct Taken {
    int64_t begin, end;
  };
  std::vector<size_t> placed;
  std::vector<Taken> taken;
  for (const size_t i : order) {
    const Lifetime& life = lifetimes[i];
    taken.clear();
    for (const size_t j : placed)
      if (lifetimes[j].first <= life.last && life.first <= lifetimes[j].last)
        taken.push_back({layout.offsets[j], layout.offsets[j] + padded(lifetimes[j].bytes)});
    std::sort(taken.begin(), taken.end(), [](const Taken& a, const Taken& b) { return a.begin < b.begin; });
    int64_t offset = 0;
    for (const Taken& t : taken) {
      if (t.begin >= offset + padded(life.bytes)) break;
      offset = std::max(offset, t.end);
    }
    layout.offsets[i] = offset;
    layout.bytes = std::max(layout.bytes, offset + padded(life.bytes));
    placed.push_back(i);
  }
  return layout;
}

}  // namespace kerf
