#include "experiments/roof_threads.h"

#include <fmt/format.h>
#include <sched.h>

#include <algorithm>
#include <atomic>
#include <barrier>
#include <chrono>
#include <system_error>
#include <thread>

#include "core/error.h"

namespace kerf {
namespace {

using Clock = std::chrono::steady_clock;

/// Thread i on the i-th core this process may use; without effect where the system refuses.
void pin(int i) {
  cpu_set_t allowed, one;
  CPU_ZERO(&allowed);
  if (sched_getaffinity(0, sizeof allowed, &allowed) != 0 || CPU_COUNT(&allowed) == 0) return;
  int left = i % CPU_COUNT(&allowed);
  for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu)
    if (CPU_ISSET(cpu, &allowed) && left-- == 0) {
      CPU_ZERO(&one);
      CPU_SET(cpu, &one);
      sched_setaffinity(0, sizeof one, &one);
      return;
    }
}

}  // namespace

std::vector<double> time_rounds(int threads, double budget, int least, const std::function<void(int thread)>& body) {
  std::vector<double> seconds;
  std::vector<Clock::time_point> starts(static_cast<size_t>(threads)), ends(starts);
  double spent = 0;
  bool done = false;
  const auto end_of_round = [&]() noexcept {  // on one thread, while the others wait
    const double round =
        std::chrono::duration<double>(*std::max_element(ends.begin(), ends.end()) - *std::min_element(starts.begin(), starts.end())).count();
    seconds.push_back(round);
    spent += round;
    done = spent >= budget && seconds.size() >= static_cast<size_t>(least);
  };
  std::barrier start(threads);
  std::barrier end(threads, end_of_round);
  enum class Go { wait, run, never };
  std::atomic<Go> go{Go::wait};
  std::vector<std::thread> crew;
  const auto work = [&](int thread) {
    pin(thread);
    go.wait(Go::wait);
    if (go == Go::never) return;
    while (!done) {
      start.arrive_and_wait();
      starts[static_cast<size_t>(thread)] = Clock::now();
      body(thread);
      ends[static_cast<size_t>(thread)] = Clock::now();
      end.arrive_and_wait();
    }
  };
  std::string failure;
  try {
    for (int t = 0; t < threads; ++t) crew.emplace_back(work, t);
  } catch (const std::system_error& e) {
    failure = fmt::format("only {} of {} threads could be started: {}", crew.size(), threads, e.what());
  }
  go = failure.empty() ? Go::run : Go::never;
  go.notify_all();
  for (auto& t : crew) t.join();
  if (!failure.empty()) throw Error(ErrorKind::runtime, failure, "-t", "use fewer threads");
  return seconds;
}

}  // namespace kerf
