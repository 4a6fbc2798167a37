// A pool for parallel loops. Workers spin for a bounded time between loops (a decode step is hundreds of short ones),
// then sleep on a futex: on a shared machine an endless spin steals the core from the thread it waits for
// (measured: OpenMP's spin barrier, 2 threads on a busy 2-core machine, ran at half the speed of one thread).
#pragma once
#include <atomic>
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
  /// is not fixed, so a result must not depend on it: give each output element to exactly one i.
  /// An exception of a body ends the loop early and is rethrown here. Not to be called from inside a body.
  template <class Body>
  void parallel_for(int64_t n, Body&& body) {
    using B = std::remove_reference_t<Body>;
    run(
        n, [](void* b, int64_t i) { (*static_cast<B*>(b))(i); }, const_cast<void*>(static_cast<const void*>(&body)));
  }

 private:
  struct Shared;
  void run(int64_t n, void (*call)(void*, int64_t), void* body);
  int threads_;
  std::unique_ptr<Shared> shared_;
};

/// Cores this process may use (affinity mask and cgroup quota): the default for -t.
int usable_cores();

}  // namespace kerf
