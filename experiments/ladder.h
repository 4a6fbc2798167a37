// The rungs of one computation from naive to best: the kernels of a backend that compute the same thing, in the order in
// which each improves on another, measured side by side on the same problem.
#pragma once
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/kernel.h"
#include "core/threadpool.h"

namespace kerf {

/// What a ladder is about: an op, and for ops whose kernels differ by it the type of weights, cache or target.
struct LadderSubject {
  Op op{};
  std::optional<DType> type{};
};
/// "matmul.q4_k", "attention" (an f16 cache), "attention.q8_0", "rms_norm". @throws Error(usage)
LadderSubject ladder_subject(std::string_view name);

/// The same computation in each form that a kernel may want it in: weights interleaved or not, activations in the formats
/// that conversions make. `shrink` is a power of two that the number of operations is divided by.
std::vector<Problem> ladder_problems(const LadderSubject& subject, int64_t tokens, int64_t shrink);

struct LadderRung {
  const Kernel* kernel = nullptr;
  Problem problem{};              // the first form it accepts
  std::optional<size_t> below{};  // the nearest rung of this ladder that it improves on, over any number of steps
};
/// Kernels of `backend` that accept one of the problems: each after the one it improves on, else by preference.
std::vector<LadderRung> ladder_rungs(const Registry& registry, std::string_view backend, const std::vector<Problem>& problems);

struct RungTimes {
  std::vector<double> seconds{};  // sorted; one per call
  double at(double quantile) const { return seconds[static_cast<size_t>(quantile * static_cast<double>(seconds.size() - 1) + 0.5)]; }
  double median() const { return at(0.5); }
};
struct LadderBudget {
  double seconds = 0.5;  // of one rung
  int rounds = 5;        // over which it is spread, all rungs in each: A B C A B C, so that a slow minute of the machine hits all
  int64_t rotated_bytes = int64_t{300} << 20;  // copies of weights or caches that calls take turns with, so that they come from memory
};
/// @param depth positions already in the cache (attention)
std::vector<RungTimes> time_rungs(const std::vector<LadderRung>& rungs, int64_t depth, ThreadPool& pool, const LadderBudget& budget,
                                  const std::function<void()>& between);

}  // namespace kerf
