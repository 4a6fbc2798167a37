#include "core/threadpool.h"

#include <atomic>
#include <chrono>
#include <numeric>
#include <stdexcept>
#include <thread>
#include <vector>

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

TEST_CASE("loops of all lengths follow each other, and workers that slept through many of them join late") {
  ThreadPool pool(4);
  std::vector<int64_t> data(300);
  int64_t want = 0, n = 0;
  for (int64_t round = 0; round < 20000; ++round) {
    n = (n * 7 + round) % 300;
    for (int64_t i = 0; i < n; ++i) want += i ^ round;
    pool.parallel_for(n, [&](int64_t i) { data[static_cast<size_t>(i)] += i ^ round; });
    if (round % 4000 == 0) std::this_thread::sleep_for(std::chrono::milliseconds(2));
  }
  CHECK(std::accumulate(data.begin(), data.end(), int64_t{0}) == want);
}

TEST_CASE("each thread walks its own part, and takes the rest of a part whose thread does not come") {
  constexpr int64_t kN = 40;
  ThreadPool pool(2);
  pool.measure(true);
  // Both threads are made to come: index 0 waits until another thread has taken one.
  std::vector<std::thread::id> who(kN);
  std::atomic<bool> other{false};
  const auto caller = std::this_thread::get_id();
  pool.parallel_for(kN, [&](int64_t i) {
    who[static_cast<size_t>(i)] = std::this_thread::get_id();
    if (std::this_thread::get_id() != caller) other = true;
    while (i == 0 && !other) std::this_thread::yield();
  });
  CHECK(who[kN / 2] != caller);
  const auto taken = [&] {
    const auto work = pool.take_work();
    return std::accumulate(work.begin(), work.end(), int64_t{0}, [](int64_t n, const auto& w) { return n + w.indices; });
  };
  CHECK(taken() == kN);

  // One thread is held in this index until the other has done all others.
  std::atomic<int64_t> done{0};
  pool.parallel_for(kN, [&](int64_t i) {
    if (i == kN / 2)
      while (done < kN - 1) std::this_thread::yield();
    done++;
  });
  CHECK(done == kN);
  CHECK(taken() == kN);
}

TEST_CASE("the times of a loop") {
  using namespace std::chrono;
  for (const int threads : {1, 3}) {
    ThreadPool pool(threads);
    const auto loop = [&](int64_t n) { pool.parallel_for(n, [](int64_t) { std::this_thread::sleep_for(milliseconds(2)); }); };
    loop(6);
    CHECK(pool.take_work().empty());  // off at first
    pool.measure(true);
    const auto start = steady_clock::now();
    loop(6);
    loop(1);
    loop(0);
    const auto end = steady_clock::now();
    const auto work = pool.take_work();
    int64_t indices = 0;
    nanoseconds busy{0};
    for (const auto& w : work) {
      indices += w.indices;
      busy += w.end - w.begin;
      CHECK(w.begin >= start);
      CHECK(w.begin <= w.end);
      CHECK(w.end <= w.left);
      CHECK(w.left <= end);
      CHECK((w.thread >= 0 && w.thread < threads));
      CHECK(w.stolen <= w.indices);
      if (w.thread != 0) CHECK(w.left == w.end);
    }
    CHECK(indices == 7);
    CHECK(busy >= milliseconds(14));
    CHECK(busy <= (end - start) * threads);
    CHECK(pool.take_work().empty());
    pool.measure(false);
    loop(6);
    CHECK(pool.take_work().empty());
  }
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
  for (int round = 0; round < 200; ++round)  // of all threads at once: one arrives, none is lost or comes back later
    CHECK_THROWS_AS(pool.parallel_for(7, [](int64_t) { throw std::runtime_error("all"); }), std::runtime_error);
  pool.parallel_for(10, [&](int64_t) { n++; });
  CHECK(n == 20);
}

TEST_CASE("a loop inside a loop is refused") {
  ThreadPool pool(2);
  CHECK_THROWS_AS(pool.parallel_for(2, [&](int64_t) { pool.parallel_for(2, [](int64_t) {}); }), std::logic_error);
  CHECK_THROWS_AS(pool.parallel_for(int64_t{1} << 28, [](int64_t) {}), std::logic_error);
}

TEST_CASE("usable cores") { CHECK(usable_cores() >= 1); }
