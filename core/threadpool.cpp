#include "core/threadpool.h"

#include <fmt/format.h>
#include <sched.h>

#include <fstream>
#include <mutex>
#include <system_error>
#include <thread>

#include "core/error.h"

namespace kerf {
namespace {

// How often a waiting thread looks before it sleeps: about 20 us of `pause` on current cores, several times the gap
// between two ops of a decode step and far below a scheduler tick.
constexpr int kSpins = 2000;

void relax() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#endif
}

/// Waits until `word` differs from `old`: spins, then sleeps on the futex behind std::atomic::wait.
template <class T>
void wait_for_change(const std::atomic<T>& word, T old) {
  for (int i = 0; i < kSpins; ++i) {
    if (word.load(std::memory_order_acquire) != old) return;
    relax();
  }
  while (word.load(std::memory_order_acquire) == old) word.wait(old, std::memory_order_acquire);
}

}  // namespace

// One loop at a time. `generation` starts a loop, `next` hands out indices, `working` counts workers still inside.
struct ThreadPool::Shared {
  std::atomic<uint32_t> generation{0};
  std::atomic<int64_t> next{0};
  std::atomic<int> working{0};
  std::atomic<bool> failed{false};
  std::atomic<bool> inside{false};
  bool stop = false;
  int64_t n = 0;
  void (*call)(void*, int64_t) = nullptr;
  void* body = nullptr;
  std::exception_ptr error;
  std::mutex error_mutex;
  std::vector<std::thread> workers;

  void take_all() {
    try {
      for (int64_t i = next.fetch_add(1, std::memory_order_relaxed); i < n; i = next.fetch_add(1, std::memory_order_relaxed)) {
        if (failed.load(std::memory_order_relaxed)) return;
        call(body, i);
      }
    } catch (...) {
      const std::lock_guard lock(error_mutex);
      if (!error) error = std::current_exception();
      failed.store(true, std::memory_order_relaxed);
    }
  }

  void end() {
    stop = true;
    generation.fetch_add(1, std::memory_order_release);
    generation.notify_all();
    for (auto& t : workers) t.join();
    workers.clear();
  }

  void work() {
    for (uint32_t seen = 0;;) {
      wait_for_change(generation, seen);
      seen = generation.load(std::memory_order_acquire);
      if (stop) return;
      take_all();
      if (working.fetch_sub(1, std::memory_order_acq_rel) == 1) working.notify_one();
    }
  }
};

ThreadPool::ThreadPool(int threads) : threads_(threads), shared_(std::make_unique<Shared>()) {
  KERF_CHECK(threads >= 1, "a pool needs a thread");
  try {
    for (int i = 1; i < threads; ++i) shared_->workers.emplace_back([s = shared_.get()] { s->work(); });
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
  if (s.workers.empty() || n <= 1) {
    for (int64_t i = 0; i < n; ++i) call(body, i);
    return;
  }
  KERF_CHECK(!s.inside.exchange(true), "parallel_for inside a parallel_for body");
  s.n = n;
  s.call = call;
  s.body = body;
  s.error = nullptr;
  s.failed.store(false, std::memory_order_relaxed);
  s.next.store(0, std::memory_order_relaxed);
  const int workers = static_cast<int>(s.workers.size());
  s.working.store(workers, std::memory_order_relaxed);
  s.generation.fetch_add(1, std::memory_order_release);
  s.generation.notify_all();
  s.take_all();
  for (int left = s.working.load(std::memory_order_acquire); left != 0; left = s.working.load(std::memory_order_acquire))
    wait_for_change(s.working, left);
  s.inside.store(false);
  if (s.error) std::rethrow_exception(s.error);
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
