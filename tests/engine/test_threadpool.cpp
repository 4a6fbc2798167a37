#include <atomic>
#include <numeric>
#include <stdexcept>

#include <chrono>
#include <thread>
#include <vector>

#include "core/threadpool.h"
#include "tests/catch.h"

using namespace kerf;

TEST_CASE("every index runs once") {
  for (const int threads : {1, 2, 3, 8}) {
    ThreadPool pool(threads);
    for (const int64_t n : {0, 1, 2, 7, 1000}) {
      std::vector<std::atomic<int>> count(static_cast<size_t>(n));
      pool.parallel_for(n, [&](int64_t i) { count[static_cast<size_t>(i)]++; });
      for (const auto& c : count) REQUIRE(c == 1);
    }
  }
}

TEST_CASE("what a loop wrote is seen after it, thousands of times") {
  ThreadPool pool(4);
  std::vector<int64_t> data(64);
  for (int64_t round = 0; round < 3000; ++round) {
    pool.parallel_for(64, [&](int64_t i) { data[static_cast<size_t>(i)] += i + round; });
    if (round % 500 == 0) std::this_thread::sleep_for(std::chrono::milliseconds(2));  // workers fall asleep on the futex
  }
  const int64_t sum = std::accumulate(data.begin(), data.end(), int64_t{0});
  CHECK(sum == 3000 * (63 * 64 / 2) + 64 * (2999LL * 3000 / 2));
}

TEST_CASE("an exception of a body reaches the caller, and the pool goes on") {
  ThreadPool pool(3);
  CHECK_THROWS_AS(pool.parallel_for(100,
                                    [](int64_t i) {
                                      if (i == 41) throw std::runtime_error("41");
                                    }),
                  std::runtime_error);
  std::atomic<int> n{0};
  pool.parallel_for(10, [&](int64_t) { n++; });
  CHECK(n == 10);
}

TEST_CASE("a loop inside a loop is refused") {
  ThreadPool pool(2);
  CHECK_THROWS_AS(pool.parallel_for(2, [&](int64_t) { pool.parallel_for(2, [](int64_t) {}); }), std::logic_error);
}

TEST_CASE("usable cores") { CHECK(usable_cores() >= 1); }
