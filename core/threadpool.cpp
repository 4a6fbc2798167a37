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

// How often a waiting thread looks before it sleeps: 25 to 100 us of `pause` on current cores (13 to 47 ns each), several
// times the gap between two ops of a decode step and far below a scheduler tick.
constexpr int kSpins = 2000;

// How often a thread whose part is done looks whether the loop is over, about 0.1 us, before it looks at the parts of others:
// a look takes the line away from its owner, who needs 0.1 us to get it back. In balanced loops nobody looks then, which made
// the shortest (2 to 8 indices of 0.2 to 1 us) 0.1 to 0.2 us faster.
constexpr int kPatience = 8;

// What two threads touch at different times lies this far apart: two cache lines, as the adjacent-line prefetcher of current
// cores fetches them in pairs (Intel 64 and IA-32 Architectures Optimization Reference Manual, data prefetching).
constexpr size_t kApart = 128;

void relax() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#endif
}

/// The number of a loop (from 1 on; 2^36 of 10 us last a week) and a count of its indices, in one word that changes at once.
struct Tagged {
  static constexpr int kCountBits = 28;
  uint64_t loop = 0;
  int64_t count = 0;
  explicit Tagged(uint64_t word) : loop(word >> kCountBits), count(static_cast<int64_t>(word & ((uint64_t{1} << kCountBits) - 1))) {}
  static uint64_t word(uint64_t loop, int64_t count) { return loop << kCountBits | static_cast<uint64_t>(count); }
};

}  // namespace

// How a loop goes. The caller writes body and `current` (number and n) and starts; who sees it takes indices. There is no
// roll call: a worker that is asleep or preempted is not waited for, its part is taken by the others. The loop is over when
// the counts of finished indices add up to n. Why a worker that comes late, after any number of later loops, does no harm:
// it holds the number and n of the loop it saw, and of a loop that is over every index is taken, so it gets none; and while
// a thread holds an index, its loop is not over, and `call` and `body` are those of that loop.
struct ThreadPool::Shared {
  // One per thread, on lines of its own: in an undisturbed loop a worker reads `current` and writes here, nothing else moves.
  struct Seat {
    alignas(kApart) std::atomic<uint64_t> taken{0};     // indices taken from this thread's part, by whomever
    alignas(kApart) std::atomic<uint64_t> finished{0};  // indices that this thread has worked on
    std::vector<Work> work{};
  };

  explicit Shared(int threads) : seats(static_cast<size_t>(threads)) {}
  std::vector<Seat> seats;  // 0: the caller's
  std::vector<std::thread> workers{};
  std::atomic<bool> inside{false};  // the caller is in a loop
  std::exception_ptr error{};
  std::mutex error_mutex{};
  // The loop, on a line that workers look at.
  alignas(kApart) std::atomic<uint64_t> current{0};
  void (*call)(void*, int64_t) = nullptr;
  void* body = nullptr;
  bool measuring = false;
  std::atomic<bool> failed{false}, stop{false};
  // Sleep and waking: seldom written. Each side says that it is about to sleep before it looks once more.
  alignas(kApart) std::atomic<uint32_t> bell{0};  // workers sleep on it
  std::atomic<bool> sleeping{false};              // one of them at least, since the last ring
  std::atomic<uint32_t> progress{0};              // the caller sleeps on it
  std::atomic<bool> waiting{false};               // it does

  /// The part of thread t: where it begins, how long it is.
  struct Part {
    int64_t begin = 0, size = 0;
  };
  Part part(Tagged loop, size_t t) const {
    const int64_t n = loop.count, p = static_cast<int64_t>(parts(loop)), i = static_cast<int64_t>(t), begin = n * i / p;
    return {begin, n * (i + 1) / p - begin};
  }
  size_t parts(Tagged loop) const { return std::min(seats.size(), static_cast<size_t>(loop.count)); }

  /// The next untaken index of part t.
  std::optional<int64_t> take(Tagged loop, size_t t, Part part) {
    auto& taken = seats[t].taken;
    uint64_t word = taken.load(std::memory_order_relaxed);
    for (;;) {
      const Tagged so_far(word);
      const int64_t next = so_far.loop == loop.loop ? so_far.count : 0;
      if (so_far.loop > loop.loop || next >= part.size) return std::nullopt;
      if (taken.compare_exchange_weak(word, Tagged::word(loop.loop, next + 1), std::memory_order_relaxed)) return part.begin + next;
    }
  }
  /// An index of another's part. `victim` remembers where there may be more; it comes back to t when there are none.
  std::optional<int64_t> steal(Tagged loop, size_t t, size_t& victim) {
    for (const size_t p = parts(loop); victim != t; victim = (victim + 1) % p)
      if (const auto i = take(loop, victim, part(loop, victim))) return i;
    return std::nullopt;
  }

  void work_on(int64_t i) {
    if (failed.load(std::memory_order_relaxed)) return;
    try {
      call(body, i);
    } catch (...) {
      const std::lock_guard lock(error_mutex);
      if (!error) error = std::current_exception();
      failed.store(true, std::memory_order_relaxed);
    }
  }

  /// Thread t's share of a loop. What it has finished is told before it looks for more: the caller may be waiting for that.
  void take_part(size_t t, Tagged loop) {
    const Part mine = part(loop, t);
    size_t victim = (t + 1) % parts(loop);
    int64_t done = 0, stolen = 0;
    const auto work = [&](int64_t i) {
      if (done == 0 && measuring) seats[t].work.push_back({.thread = static_cast<int>(t), .begin = Clock::now()});
      work_on(i);
      ++done;
    };
    while (const auto i = take(loop, t, mine)) work(*i);
    if (done > 0) tell(t, loop, done, stolen);
    for (int k = 0; k < kPatience; ++k) {
      if (t == 0 ? over(loop) : Tagged(current.load(std::memory_order_acquire)).loop != loop.loop) return;
      relax();
    }
    while (const auto i = steal(loop, t, victim)) {
      work(*i);
      tell(t, loop, done, ++stolen);
    }
  }
  void tell(size_t t, Tagged loop, int64_t done, int64_t stolen) {
    Seat& s = seats[t];
    if (measuring) {
      Work& w = s.work.back();
      w.left = w.end = Clock::now();
      w.indices = done;
      w.stolen = stolen;
    }
    s.finished.exchange(Tagged::word(loop.loop, done));  // from here on the loop may be over
    if (t == 0 || !waiting.load()) return;
    progress.fetch_add(1);
    progress.notify_one();
  }

  bool over(Tagged loop) const {
    int64_t sum = 0;
    for (size_t t = 0; t < parts(loop); ++t)
      if (const Tagged finished(seats[t].finished.load()); finished.loop == loop.loop) sum += finished.count;
    return sum == loop.count;
  }
  void wait_until_over(Tagged loop) {
    for (int i = 0; i < kSpins; ++i) {
      if (over(loop)) return;
      relax();
    }
    waiting.store(true);
    for (;;) {
      const uint32_t before = progress.load();
      if (over(loop)) break;
      progress.wait(before);
    }
    waiting.store(false);
  }

  void wait_for_other_loop(uint64_t seen) {
    for (int i = 0; i < kSpins; ++i) {
      if (current.load(std::memory_order_acquire) != seen) return;
      relax();
    }
    const uint32_t before = bell.load();
    sleeping.store(true);
    if (current.load() == seen) bell.wait(before);
  }
  void worker(size_t t) {
    for (uint64_t seen = 0; !stop.load(std::memory_order_acquire); wait_for_other_loop(seen)) {
      const uint64_t word = current.load(std::memory_order_acquire);
      if (word == seen) continue;
      seen = word;
      if (const Tagged loop(word); t < parts(loop)) take_part(t, loop);
    }
  }
  /// Not a locked instruction, which would hold the caller up until its lines have arrived: if a worker falls asleep at the
  /// same moment, neither sees the other, and this one loop goes without it.
  void start(uint64_t word) {
    current.store(word, std::memory_order_release);
    if (sleeping.load(std::memory_order_relaxed)) ring();
  }
  void ring() {
    sleeping.store(false);
    bell.fetch_add(1);
    bell.notify_all();
  }

  void run(int64_t n) {
    const Tagged loop(Tagged::word(Tagged(current.load(std::memory_order_relaxed)).loop + 1, n));
    if (failed.load(std::memory_order_relaxed)) {
      error = nullptr;
      failed.store(false, std::memory_order_relaxed);
    }
    start(Tagged::word(loop.loop, n));
    take_part(0, loop);
    wait_until_over(loop);
  }

  void end() {
    stop.store(true);
    current.store(Tagged::word(Tagged(current.load()).loop + 1, 0));  // a loop of nothing, for those who spin
    ring();
    for (auto& t : workers) t.join();
    workers.clear();
  }
};

ThreadPool::ThreadPool(int threads) : threads_(threads) {
  KERF_CHECK(threads >= 1, "a pool needs a thread");
  shared_ = std::make_unique<Shared>(threads);
  try {
    for (int t = 1; t < threads; ++t) shared_->workers.emplace_back([s = shared_.get(), t] { s->worker(static_cast<size_t>(t)); });
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
  KERF_CHECK(n < int64_t{1} << Tagged::kCountBits, "parallel_for counts to 2^28");
  s.call = call;
  s.body = body;
  const auto start = s.measuring ? Clock::now() : Clock::time_point{};
  const size_t loops = s.seats[0].work.size();
  s.run(n);
  if (auto& mine = s.seats[0].work; s.measuring) {
    if (mine.size() == loops) mine.push_back({.begin = start, .end = start});  // the others took everything
    mine.back().left = Clock::now();
  }
  s.inside.store(false, std::memory_order_release);
  if (s.failed.load(std::memory_order_relaxed)) std::rethrow_exception(s.error);
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
