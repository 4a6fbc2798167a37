// The loop both kinds of vocabulary share: of all adjacent pairs that may merge, take the one of lowest rank, the leftmost
// of equals, until none is left. (Byte-pair encoding: Sennrich et al. 2016, arXiv:1508.07909, section 3.2.)
//
// Short pieces, nearly all of them, are scanned for the minimum each time. Long ones keep one queue per rank and a heap of
// the ranks in use: a heap of pairs would spend its time in cache misses on ten million equal letters, while in a queue per
// rank the pairs of the start text lie in order already.
#pragma once
#include <algorithm>
#include <cstdint>
#include <functional>
#include <limits>
#include <queue>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace kerf {

constexpr uint32_t kNone = std::numeric_limits<uint32_t>::max();

struct MergeNode {
  uint32_t prev = kNone, next = kNone;  // neighbours; node 0 stays the first to the end
  uint32_t symbol = kNone;              // what the caller puts there; merged pairs take `result`
  uint32_t rank = kNone;                // of merging with the next; kNone: they do not merge, or this node is gone
  uint32_t result = kNone;              // the symbol of that merge
};

struct MergeRule {
  uint32_t rank = kNone, result = kNone;
};

/// Positions by rank, and by position within a rank.
class RankQueue {
 public:
  void push(uint32_t rank, uint32_t position) {
    Bucket& b = buckets_[rank];
    if (!b.listed) {
      b.listed = true;
      ranks_.push(rank);
    }
    if (!b.heap && (b.empty() || position >= b.items.back())) return b.items.push_back(position);
    if (!b.heap) {
      b.items.erase(b.items.begin(), b.items.begin() + static_cast<std::ptrdiff_t>(b.head));
      b.head = 0;
      b.heap = true;
      std::make_heap(b.items.begin(), b.items.end(), std::greater<>());
    }
    b.items.push_back(position);
    std::push_heap(b.items.begin(), b.items.end(), std::greater<>());
  }

  bool pop(uint32_t& rank, uint32_t& position) {
    while (!ranks_.empty()) {
      rank = ranks_.top();
      Bucket& b = buckets_[rank];
      if (!b.empty()) {
        position = b.take();
        return true;
      }
      b = Bucket{};
      ranks_.pop();
    }
    return false;
  }

 private:
  struct Bucket {
    std::vector<uint32_t> items{};
    size_t head = 0;      // of a sorted queue
    bool heap = false;    // items came out of order
    bool listed = false;  // its rank is in ranks_
    bool empty() const { return head == items.size(); }
    uint32_t take() {
      if (!heap) return items[head++];
      std::pop_heap(items.begin(), items.end(), std::greater<>());
      const uint32_t position = items.back();
      items.pop_back();
      return position;
    }
  };
  std::unordered_map<uint32_t, Bucket> buckets_;
  std::priority_queue<uint32_t, std::vector<uint32_t>, std::greater<>> ranks_;
};

/// Up to this many nodes the scan is faster: at 64 nodes it looks at 2,000 ranks that lie side by side.
constexpr size_t kScanLimit = 64;

/// @param nodes  linked in text order: node i begins with prev = i - 1, next = i + 1
/// @param rule   rule(left, right) -> MergeRule for two neighbouring nodes
/// @param scan_limit pieces above it use the queue (a parameter for the test that both ways agree)
template <class Rule>
void merge_all(std::vector<MergeNode>& nodes, const Rule& rule, size_t scan_limit = kScanLimit) {
  const auto look = [&](uint32_t i) {
    const uint32_t j = nodes[i].next;
    const MergeRule found = j == kNone ? MergeRule{} : rule(i, j);
    nodes[i].rank = found.rank;
    nodes[i].result = found.result;
  };
  const auto merge = [&](uint32_t i) {
    MergeNode& left = nodes[i];
    MergeNode& right = nodes[left.next];
    left.symbol = left.result;
    left.next = right.next;
    right.rank = kNone;
    if (left.next != kNone) nodes[left.next].prev = i;
    look(i);
    if (left.prev != kNone) look(left.prev);
  };

  for (uint32_t i = 0; i < nodes.size(); ++i) look(i);
  if (nodes.size() <= scan_limit) {
    while (!nodes.empty()) {
      uint32_t best = 0;
      for (uint32_t i = nodes[0].next; i != kNone; i = nodes[i].next)
        if (nodes[i].rank < nodes[best].rank) best = i;
      if (nodes[best].rank == kNone) return;
      merge(best);
    }
    return;
  }

  RankQueue queue;
  const auto offer = [&](uint32_t i) {
    if (nodes[i].rank != kNone) queue.push(nodes[i].rank, i);
  };
  for (uint32_t i = 0; i < nodes.size(); ++i) offer(i);
  for (uint32_t rank = 0, i = 0; queue.pop(rank, i);) {
    if (nodes[i].rank != rank) continue;  // the pair changed since it was queued
    merge(i);
    offer(i);
    if (nodes[i].prev != kNone) offer(nodes[i].prev);
  }
}

/// Links for n nodes.
inline void link(std::vector<MergeNode>& nodes, size_t n) {
  nodes.assign(n, MergeNode{});
  for (size_t i = 0; i < n; ++i) {
    nodes[i].prev = i == 0 ? kNone : static_cast<uint32_t>(i - 1);
    nodes[i].next = i + 1 == n ? kNone : static_cast<uint32_t>(i + 1);
  }
}

/// For maps that are looked up by parts of a text.
struct TextHash {
  using is_transparent = void;
  size_t operator()(std::string_view s) const { return std::hash<std::string_view>()(s); }
};

}  // namespace kerf
