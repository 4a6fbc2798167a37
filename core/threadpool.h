// A pool for parallel loops. Thread t begins with its own contiguous part of the indices, so that it walks its own stretch
// of memory, and the same stretch in every loop of that length; a thread that runs out takes single indices of
// another's part (work stealing: Blumofe & Leiserson 1999), so that a thread that was preempted delays nobody.
// Workers spin for a bounded time between loops (a decode step is hundreds of short ones), then sleep on a futex: on a
// shared machine an endless spin steals the core from the thread it waits for (measured: OpenMP's spin barrier, 2 threads
// on a busy 2-core machine, ran at half the speed of one thread).
#pragma once
#include <chrono>
#include <cstdint>
#include <exception>
#include <memory>
#include <type_traits>
#include <vector>

namespace kerf {

class ThreadPool {
 public:
  /// @param threads total, the caller included; >= 1.
  explicit ThreadPool(int threads);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  int size() const { return threads_; }

  /// Calls body(i) once for each i in [0, n), from any thread, and returns when all are done. Which thread takes which i
  /// is not fixed, so a result must not depend on it: give each output element to exactly one i. Where all threads are
  /// awake and equally fast, thread t takes about [n*t/threads, n*(t+1)/threads), in order. n is below 2^28.
  /// An exception of a body ends the loop early and is rethrown here. Not to be called from inside a body.
  template <class Body>
  void parallel_for(int64_t n, Body&& body) {
    using B = std::remove_reference_t<Body>;
    run(
        n, [](void* b, int64_t i) { (*static_cast<B*>(b))(i); }, const_cast<void*>(static_cast<const void*>(&body)));
  }

  /// When one thread worked on one loop.
  struct Work {
    using Time = std::chrono::steady_clock::time_point;
    int thread = 0;       // 0 is the caller
    Time begin{}, end{};  // from joining the loop until no index is left to take
    Time left{};          // caller: when the loop returned, so that left - end is its wait for the others; else end
    int64_t indices = 0;  // how many it took,
    int64_t stolen = 0;   // and how many of them were another thread's
  };
  /// From the next loop on, writes down who worked when: two readings of the clock per thread and loop. At first off,
  /// which costs one comparison.
  void measure(bool on);
  /// What was written down since the last call. Between loops only, as measure().
  std::vector<Work> take_work();

 private:
  struct Shared;
  void run(int64_t n, void (*call)(void*, int64_t), void* body);
  int threads_;
  std::unique_ptr<Shared> shared_;
};

/// Cores this process may use (affinity mask and cgroup quota): the default for -t.
int usable_cores();

}  // namespace kerf
