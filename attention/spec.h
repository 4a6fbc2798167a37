// What attention attends to: one predicate for every mask, and its two ends as indices, so that a tiled kernel can skip
// whole tiles by arithmetic instead of scanning a mask. Positions are absolute (the first token of a sequence is 0).
#pragma once
#include <algorithm>
#include <cstdint>

namespace kerf::attention {
// One copy per instruction set, see core/half.h.
#ifndef KERF_ISA
#define KERF_ISA base
#endif
inline namespace KERF_ISA {

/// Half-open range of key positions.
struct Range {
  int64_t begin = 0, end = 0;
};

/// Keys that the query at position q sees: causal, and the last `window` of them (itself included) if window > 0.
/// Sliding windows: Beltagy et al. 2020; HF's sliding_window counts the query itself, as here.
constexpr Range visible_keys(int64_t q, int64_t window) { return {window > 0 ? std::max<int64_t>(0, q - window + 1) : 0, q + 1}; }

constexpr bool visible(int64_t q, int64_t k, int64_t window) {
  const Range r = visible_keys(q, window);
  return r.begin <= k && k < r.end;
}

/// Grouped-query attention (Ainslie et al. 2023): n_head / n_kv consecutive query heads read one key/value head.
constexpr int64_t kv_head(int64_t head, int64_t n_head, int64_t n_kv) { return head / (n_head / n_kv); }

}  // namespace KERF_ISA
}  // namespace kerf::attention
