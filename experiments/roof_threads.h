// Threads for measurements: pinned, started together, timed from the first start to the last end. Not the thread pool of
// the kernels, because there any thread may take any part, and a measurement of memory needs each slice read by the
// thread that touched it first.
#pragma once
#include <functional>
#include <vector>

namespace kerf {

/// Runs body(thread) on `threads` threads at once, again and again until `budget` seconds are spent, at least `least` times.
/// @return seconds of each round
/// @throws Error(runtime) if the threads can not be started
std::vector<double> time_rounds(int threads, double budget, int least, const std::function<void(int thread)>& body);

}  // namespace kerf
