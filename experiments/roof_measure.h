// Measuring the roof: loops of experiments/roof on pinned threads that start together.
#pragma once
#include <functional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "experiments/roof.h"

namespace kerf {

struct RoofOptions {
  std::vector<int> threads{};    // numbers of threads to measure with
  double seconds = 20;           // for all measurements together; setting up buffers comes on top
  int64_t buffer = 0;            // bytes to read for `read`; 0: the larger of 1 GiB and four times the last cache
  std::set<std::string> only{};  // of read, caches, units, amx, exp; empty: all
};

/// `progress` is called between measurements and may throw to end them.
/// Figures of memory are medians over rounds (a neighbour's burst is part of life), those of units the best round (what a
/// unit does on registers can only be disturbed).
/// @throws Error(memory) if not even a small buffer is to be had, Error(runtime) if threads cannot be started
Roof measure_roof(const RoofOptions& options, const std::function<void(int64_t done, int64_t total)>& progress);

}  // namespace kerf
