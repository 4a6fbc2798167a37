#include "core/threadpool.h"

#include <fmt/format.h>
#include <sched.h>

#include <algorithm>
#include <atomic>
#include <fstream>
#include <mutex>
#include <optional>
#include <system_error>
#include <thread>

#include "core/error.h"

namespace kerf {
namespace {

using Clock = std::chrono::steady_clock;

// How often a waiting thread looks before it sleeps: 20 to 100 us of `pause` on current cores (13 to 47 ns each), several
// times the gap between two ops of a decode step and far below a scheduler tick.
constexpr int kSpins = 2000;

void relax() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#endif
}

/// Indices [begin, end) that nobody has taken. Both ends in one word: the owner takes from the front, others from the back.
class Range {
 public:
  void set(int64_t begin, int64_t end) { word_.store(packed(begin, end), std::memory_order_relaxed); }
  std::optional<int64_t> take_first() {
    return take([](uint64_t word) { return word + 1; }, [](uint64_t word) { return begin_of(word); });
  }
  std::optional<int64_t> take_last() {
    return take([](uint64_t word) { return word - (uint64_t{1} << 32); }, [](uint64_t word) { return end_of(word) - 1; });
  }

 private:
  static uint64_t packed(int64_t begin, int64_t end) { return static_cast<uint64_t>(end) << 32 | static_cast<uint64_t>(begin); }
  static int64_t begin_of(uint64_t word) { return static_cast<int64_t>(word & 0xFFFFFFFF); }
  static int64_t end_of(uint64_t word) { return static_cast<int64_t>(word >> 32); }

  template <class Without, class Taken>
  std::optional<int64_t> take(Without without, Taken taken) {
    uint64_t word = word_.load(std::memory_order_relaxed);
    while (begin_of(word) < end_of(word))
      if (word_.compare_exchange_weak(word, without(word), std::memory_order_relaxed)) return taken(word);
    return std::nullopt;
  }

  std::atomic<uint64_t> word_{0};
};

// Where a worker stands. The caller offers a loop and at its end withdraws the offer again if the worker has not come
// (asleep or preempted: the others have done its part by then); a worker that has come is waited for. Each side marks
// that it sleeps in the same word, so that a futex is woken only if somebody lies on it.
enum Turn : uint32_t {
  kIdle,     // the worker looks for an offer
  kAsleep,   // the worker sleeps until there is one
  kOffered,  // the loop in this seat may be joined
  kWorking,  // the worker is in it
  kAwaited,  // the same, and the caller sleeps until it is out
  kStop,
};

}  // namespace

// All that the caller and one worker exchange, on cache lines of its own: a loop costs one transfer there and one back.
// 128 bytes: the adjacent-line prefetcher of current cores fetches lines in pairs (Intel optimization manual, 3.7).
struct alignas(128) ThreadPool::Seat {
  std::atomic<uint32_t> turn{kIdle};
  bool measured = false;
  Range range{};
  void (*call)(void*, int64_t) = nullptr;
  void* body = nullptr;
  std::vector<Work> work{};

  /// Worker: returns when there is an offer, or kStop.
  uint32_t wait_for_offer() {
    for (;;) {
      for (int i = 0; i < kSpins; ++i) {
        const uint32_t now = turn.load(std::memory_order_acquire);
        if (now == kOffered || now == kStop) return now;
        relax();
      }
      uint32_t expected = kIdle;
      if (turn.compare_exchange_strong(expected, kAsleep, std::memory_order_acq_rel)) turn.wait(kAsleep, std::memory_order_acquire);
    }
  }
  bool join() {
    uint32_t expected = kOffered;
    return turn.compare_exchange_strong(expected, kWorking, std::memory_order_acq_rel);
  }
  void leave() {
    if (turn.exchange(kIdle, std::memory_order_acq_rel) == kAwaited) turn.notify_one();
  }

  /// Caller: `what` is kOffered or kStop.
  void offer(Turn what) {
    if (turn.exchange(what, std::memory_order_acq_rel) == kAsleep) turn.notify_one();
  }
  /// Caller: returns when the worker has left, or without it if it never came.
  void end_offer() {
    uint32_t expected = kOffered;
    if (turn.compare_exchange_strong(expected, kIdle, std::memory_order_acq_rel)) return;
    for (int i = 0; i < kSpins; ++i) {
      if (turn.load(std::memory_order_acquire) == kIdle) return;
      relax();
    }
    expected = kWorking;
    if (turn.compare_exchange_strong(expected, kAwaited, std::memory_order_acq_rel)) turn.wait(kAwaited, std::memory_order_acquire);
  }
};

struct ThreadPool::Shared {
  explicit Shared(int threads) : seats(static_cast<size_t>(threads)) {}
  std::vector<Seat> seats;  // 0: the caller's, which has only a range
  size_t parts = 0;         // seats of this loop
  bool measuring = false;
  std::atomic<bool> inside{false};
  std::atomic<bool> failed{false};
  std::exception_ptr error;
  std::mutex error_mutex;
  std::vector<std::thread> workers;

  /// The next index for a seat: its own, else another's. `victim` is where it looked last.
  std::optional<int64_t> next(size_t seat, size_t& victim) {
    if (victim == seat) {
      if (const auto i = seats[seat].range.take_first()) return i;
      victim = (victim + 1) % parts;
    }
    for (; victim != seat; victim = (victim + 1) % parts)
      if (const auto i = seats[victim].range.take_last()) return i;
    return std::nullopt;
  }

  void take_all(size_t seat) {
    Seat& s = seats[seat];
    Work work{.thread = static_cast<int>(seat)};
    if (s.measured) work.begin = Clock::now();
    try {
      size_t victim = seat;
      while (const auto i = next(seat, victim)) {
        if (failed.load(std::memory_order_relaxed)) break;
        s.call(s.body, *i);
        ++work.indices;
        work.stolen += victim != seat ? 1 : 0;
      }
    } catch (...) {
      const std::lock_guard lock(error_mutex);
      if (!error) error = std::current_exception();
      failed.store(true, std::memory_order_relaxed);
    }
    if (!s.measured) return;
    work.left = work.end = Clock::now();
    s.work.push_back(work);
  }

  void work(size_t seat) {
    Seat& s = seats[seat];
    while (s.wait_for_offer() != kStop)
      if (s.join()) {
        take_all(seat);
        s.leave();
      }
  }

  void end() {
    for (size_t t = 1; t < seats.size(); ++t) seats[t].offer(kStop);
    for (auto& t : workers) t.join();
    workers.clear();
  }
};

ThreadPool::ThreadPool(int threads) : threads_(threads) {
  KERF_CHECK(threads >= 1, "a pool needs a thread");
  shared_ = std::make_unique<Shared>(threads);
  try {
    for (int t = 1; t < threads; ++t) shared_->workers.emplace_back([s = shared_.get(), t] { s->work(static_cast<size_t>(t)); });
  } catch (const std::system_error& e) {
    const size_t started = shared_->workers.size();
    shared_->end();
    throw Error(ErrorKind::runtime, fmt::format("only {} of {} threads could be started: {}", started + 1, threads, e.what()), "-t",
                "use fewer threads");
  }
}

ThreadPool::~ThreadPool() { shared_->end(); }

void ThreadPool::run(int64_t n, void (*call)(void*, int64_t), void* body) {
  Shared& s = *shared_;
  if (n <= 0) return;
  if ((s.workers.empty() || n == 1) && !s.measuring) {
    for (int64_t i = 0; i < n; ++i) call(body, i);
    return;
  }
  KERF_CHECK(!s.inside.exchange(true), "parallel_for inside a parallel_for body");
  KERF_CHECK(n < int64_t{1} << 32, "an index of parallel_for has 32 bits");
  const int64_t parts = std::min<int64_t>(threads_, n);
  s.parts = static_cast<size_t>(parts);
  s.error = nullptr;
  s.failed.store(false, std::memory_order_relaxed);
  for (int64_t t = 0; t < parts; ++t) {
    Seat& seat = s.seats[static_cast<size_t>(t)];
    seat.range.set(n * t / parts, n * (t + 1) / parts);
    seat.call = call;
    seat.body = body;
    seat.measured = s.measuring;
  }
  for (size_t t = 1; t < s.parts; ++t) s.seats[t].offer(kOffered);  // after all ranges: who comes first may steal from any
  s.take_all(0);
  for (size_t t = 1; t < s.parts; ++t) s.seats[t].end_offer();
  if (s.measuring) s.seats[0].work.back().left = Clock::now();
  s.inside.store(false);
  if (s.error) std::rethrow_exception(s.error);
}

void ThreadPool::measure(bool on) { shared_->measuring = on; }

std::vector<ThreadPool::Work> ThreadPool::take_work() {
  std::vector<Work> all;
  for (auto& seat : shared_->seats) {
    all.insert(all.end(), seat.work.begin(), seat.work.end());
    seat.work.clear();
  }
  return all;
}

int usable_cores() {
  cpu_set_t set;
  CPU_ZERO(&set);
  int cores = sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : static_cast<int>(std::thread::hardware_concurrency());
  std::ifstream quota("/sys/fs/cgroup/cpu.max");  // "MAX PERIOD" or "max PERIOD", microseconds (cgroup v2)
  long long max = 0, period = 0;
  if (quota >> max >> period && max > 0 && period > 0) {
    const auto limit = static_cast<int>((max + period - 1) / period);
    if (limit < cores) cores = limit;
  }
  return cores < 1 ? 1 : cores;
}

}  // namespace kerf
