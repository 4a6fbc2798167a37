// Slots sorted by expert: what every kernel of expert_matmul, expert_swiglu and expert_matmul_sum begins with.
#pragma once
#include <cstdint>
#include <span>

#include "core/kernel.h"

namespace kerf::cpu {

/// The tokens of one expert.
struct ExpertGroup {
  int32_t expert = 0;
  const int32_t *slots = nullptr, *x_rows = nullptr;  // rows of the outputs and of the activations
  int64_t first = 0, count = 0;                       // its slots' place among the sorted ones, and how many they are
};

/// A counting sort; an expert's slots keep the order of tokens.
class ExpertRouting {
 public:
  static int64_t bytes(int64_t experts, int64_t slots) { return (2 * experts + 1 + 2 * slots) * static_cast<int64_t>(sizeof(int32_t)); }

  ExpertRouting(const TensorView& ids, int64_t experts, bool x_by_slot, std::span<std::byte> scratch);
  /// Experts that have tokens, by number.
  int64_t groups() const { return groups_; }
  ExpertGroup group(int64_t i) const {
    const int32_t e = used_[i], first = begin_[e];
    return {e, slots_ + first, rows_ + first, first, begin_[e + 1] - first};
  }

 private:
  int32_t *begin_, *used_, *slots_, *rows_;
  int64_t groups_ = 0;
};

}  // namespace kerf::cpu
