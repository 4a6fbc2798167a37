// The words of backends/gpu/gpu.h on the emulator. Compiled twice, for waves of 32 and of 64 lanes.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <numeric>
#include <random>
#include <set>

#include "backends/gpu/gpu.h"
#include "core/threadpool.h"
#include "tests/catch.h"

namespace kerf::KERF_GPU_NS {
namespace {

using Catch::Matchers::Contains;
using simt::Schedule;

/// A queue and the threads that run its blocks.
struct Machine {
  explicit Machine(simt::Order order = {}, int threads = 1, simt::Target target = {}) : queue({target, order}), pool(threads) {}
  simt::Queue queue;
  ThreadPool pool;
  Call call{.pool = pool, .queue = &queue};
};

/// In three orders of threads and blocks, on 1, 2 and 8 OS threads.
template <class F>
void everywhere(F&& test) {
  for (const simt::Order order : {simt::Order{Schedule::forward}, {Schedule::reverse}, {Schedule::random, 7}})
    for (const int threads : {1, 2, 8}) {
      INFO("schedule " << static_cast<int>(order.schedule) << ", " << threads << " OS threads");
      Machine m(order, threads);
      test(m.call);
    }
}

std::mt19937& seeded() {
  static std::mt19937 random(1);
  return random;
}
int small(int below) { return static_cast<int>(seeded()() % static_cast<unsigned>(2 * below + 1)) - below; }

/// The text of the error that `kernel` ends with.
template <class Args>
std::string error_of(const Launch& l, void (*kernel)(Args), const Args& args, simt::Order order = {}) {
  Machine m(order);
  try {
    launch(m.call, l, kernel, args);
  } catch (const Error& e) {
    CHECK(e.kind == ErrorKind::runtime);
    return e.what();
  }
  return "no error";
}

struct IndexArgs {
  int *count, *threads, *blocks;
  unsigned x, y;
};
KERF_GLOBAL(96) count_indices(IndexArgs a) {
  atomic_add(&a.count[((block_z() * a.y + block_y()) * a.x + block_x()) * threads_x() + thread_x()], 1);
  if (thread_x() == 0 && block_x() == 0 && block_y() == 0 && block_z() == 0) {
    *a.threads = static_cast<int>(threads_x());
    *a.blocks = static_cast<int>(blocks_x());
  }
}

template <class T>
struct ShuffleArgs {
  const T* in;
  T *from5, *by_xor, *up, *down, *even;
};
template <class T>
KERF_GLOBAL(96)
shuffles(ShuffleArgs<T> a) {
  const unsigned i = thread_x();
  const T x = a.in[i];
  a.from5[i] = shfl(x, 5);
  a.by_xor[i] = shfl_xor(x, 9);
  a.up[i] = shfl_up(x, 3);
  a.down[i] = shfl_down(x, 3);
  if (i % 2 == 0) a.even[i] = shfl(x, (lane() + 2) % kLanes, 0x55555555);
}

struct VoteArgs {
  unsigned *all_lanes, *some_lanes, *answers;
};
KERF_GLOBAL(64) votes(VoteArgs a) {
  constexpr unsigned kSome = 0x00F0000F;
  const unsigned i = thread_x(), l = lane();
  a.all_lanes[i] = ballot(l % 3 == 0);
  if (kSome >> l & 1) a.some_lanes[i] = ballot(l % 2 == 0, kSome);
  a.answers[i] = (any(l == 31) ? 1u : 0u) | (any(false) ? 2u : 0u) | (all(true) ? 4u : 0u) | (all(l != 31) ? 8u : 0u);
}

struct FloatArgs {
  const float* x;
  float* y;
};
/// Each lane hands its value to the next one, 32 times.
KERF_GLOBAL(64) around_the_warp(FloatArgs a) {
  KERF_SHARED(float, seat, [64]);
  const unsigned next = warp() * kLanes + (lane() + 1) % kLanes;
  float mine = a.x[thread_x()];
  for (int i = 0; i < kLanes; ++i) {
    seat[next] = mine + 1;
    warp_sync();
    mine = seat[thread_x()];
    warp_sync();
  }
  a.y[thread_x()] = mine;
}
/// The same around the block.
KERF_GLOBAL(200) around_the_block(FloatArgs a) {
  KERF_SHARED(float, seat, [200]);
  float mine = a.x[thread_x()];
  for (int i = 0; i < 200; ++i) {
    seat[(thread_x() + 1) % 200] = mine + 1;
    block_sync();
    mine = seat[thread_x()];
    block_sync();
  }
  a.y[thread_x()] = mine;
}
KERF_GLOBAL(256) sums_of_blocks(FloatArgs a) {
  KERF_SHARED(float, part, [256 / kLanes]);
  KERF_SHARED(int, counts, [256 / kLanes]);
  const float sum = block_sum<256>(a.x[block_x() * 256 + thread_x()], part), again = block_sum<256>(sum, part);
  const int count = block_sum<256>(1, counts);
  a.y[block_x() * 256 + thread_x()] = sum + again + static_cast<float>(count) + warp_max(static_cast<float>(thread_x()));
}

struct CopyArgs {
  const uint32_t* x;
  uint32_t *early, *late;
};
/// What lies in shared memory after each step: nothing but what the wait before it asked for.
KERF_GLOBAL(4) copies(CopyArgs a) {
  KERF_SHARED(uint32_t, to, [4][3][4]);
  const unsigned i = thread_x();
  const auto look = [&](unsigned step) {
    for (unsigned c = 0; c < 3; ++c) a.early[(i * 5 + step) * 3 + c] = to[i][c][0];
  };
  for (unsigned c = 0; c < 2; ++c) {
    copy_async16(to[i][c], a.x + (i * 3 + c) * 4);
    copy_commit();
  }
  copy_async16(to[i][2], a.x + (i * 3 + 2) * 4);
  look(0);
  copy_wait<1>();
  look(1);
  copy_wait<0>();
  look(2);
  copy_commit();
  copy_wait<1>();
  look(3);
  copy_wait<0>();
  look(4);
  for (unsigned c = 0; c < 3; ++c)
    for (unsigned k = 0; k < 4; ++k) a.late[(i * 3 + c) * 4 + k] = to[i][c][k];
}

struct AtomicArgs {
  int *count, *was;
  float* sum;
};
KERF_GLOBAL(256) count_up(AtomicArgs a) {
  a.was[block_x() * 256 + thread_x()] = atomic_add(a.count, 1);
  atomic_add(a.sum, static_cast<float>(thread_x() % 3));
}

struct DynamicArgs {
  int* y;
  int n;
};
KERF_GLOBAL(32) fill_dynamic(DynamicArgs a) {
  KERF_SHARED_DYNAMIC(int, all);
  KERF_SHARED(int, beside, [32]);
  for (int i = static_cast<int>(thread_x()); i < a.n; i += 32) all[i] = i;
  beside[thread_x()] = -1;
  block_sync();
  for (int i = static_cast<int>(thread_x()); i < a.n; i += 32) a.y[i] = all[a.n - 1 - i] + beside[(thread_x() + 1) % 32];
}

struct Products {
  const void *a, *b;  // [16, k]
  void* c;            // [16, 16]
  int* touched;       // [16, 16]
};
template <class Tile, class Result, class Element, class Sum, void (*multiply)(Result&, const Tile&, const Tile&, Where)>
KERF_GLOBAL(kWave)
product(Products p) {
  constexpr int k = Tile::k, stride = k + 16 / static_cast<int>(sizeof(Element));
  KERF_SHARED(Element, a, [16 * stride]);
  KERF_SHARED(Element, b, [16 * stride]);
  for (int i = static_cast<int>(thread_x()); i < 16 * k; i += kWave) {
    a[i / k * stride + i % k] = static_cast<const Element*>(p.a)[i];
    b[i / k * stride + i % k] = static_cast<const Element*>(p.b)[i];
  }
  block_sync();
  Tile x, y;
  Result c;
  for_each(c, [](int row, int col, Sum& e) { e = static_cast<Sum>(row - col); });
  load_a(x, a, stride);
  load_b(y, b, stride);
  multiply(c, x, y, Where::current());
  multiply(c, x, y, Where::current());
  for_each(c, [&](int row, int col, Sum& e) {
    static_cast<Sum*>(p.c)[row * 16 + col] = e;
    atomic_add(&p.touched[row * 16 + col], 1);
  });
}
template <class Tile, class Result, class Element, class Sum, void (*multiply)(Result&, const Tile&, const Tile&, Where), class Encode>
void check_product(Encode&& encode, int first = 0, int count = Tile::k) {
  constexpr int k = Tile::k;
  std::vector<int> a(16 * k), b(16 * k), touched(256);
  std::vector<Element> ea, eb;
  for (int& x : a) ea.push_back(encode(x = small(20)));
  for (int& x : b) eb.push_back(encode(x = small(20)));
  std::vector<Sum> c(256), want(256);
  for (int i = 0; i < 256; ++i) {
    int sum = i / 16 - i % 16;
    for (int j = first; j < first + count; ++j) sum += 2 * a[i / 16 * k + j] * b[i % 16 * k + j];
    want[i] = static_cast<Sum>(sum);
  }
  everywhere([&](const Call& call) {
    std::fill(touched.begin(), touched.end(), 0);
    launch(call, {.kernel = "product", .blocks = {1}, .threads = kWave}, product<Tile, Result, Element, Sum, multiply>,
           Products{ea.data(), eb.data(), c.data(), touched.data()});
    CHECK(c == want);
    CHECK(std::count(touched.begin(), touched.end(), 1) == 256);
  });
}

struct WrongArgs {
  int what;
  const float* device;
};
/// Wrong in one of many ways; the line of each is in the message.
KERF_GLOBAL(64) wrong(WrongArgs a) {
  KERF_SHARED(float, shared, [16]);
  const unsigned i = thread_x();
  if (a.what == 0 && i < 40) block_sync();
  if (a.what == 1) {
    if (i < 40)
      block_sync();
    else
      block_sync();
  }
  if (a.what == 2 && i != 3) shfl_xor(1, 1);
  if (a.what == 3) shfl_xor(1, 1, i < 32 ? kAll : 0xF);
  if (a.what == 4) ballot(true, i % 2 == 0 ? kAll : kAll & ~1u);
  if (a.what == 5 && i == 2) return;
  if (a.what == 5 && i < 32) any(true);
  if (a.what == 6) copy_async16(shared + 1, a.device);
  if (a.what == 7) copy_async16(shared, a.device + 1);
  if (a.what == 8 && i % 32 < 16) warp_sync(i % 2 == 0 ? 0xFFFF : 0xFFFE);
  if (a.what == 9 && i < 16) shfl(1, 0);
  if (a.what == 9 && i >= 16 && i < 32) shfl(1, 0);
  if (a.what == 10) throw Error(ErrorKind::runtime, "of the kernel itself");
}
std::string error_of_wrong(int what, simt::Order order = {}) {
  alignas(16) static constexpr float kDevice[32]{};
  return error_of({.kernel = "wrong", .blocks = {3, 2}, .threads = 64}, wrong, WrongArgs{what, kDevice}, order);
}

struct Nothing {};
KERF_GLOBAL(1024) nothing(Nothing) {}
KERF_GLOBAL(32) much_shared(Nothing) {
  KERF_SHARED(float, first, [8 << 10]);
  KERF_SHARED(float, second, [4 << 10]);
  first[thread_x()] = second[thread_x()] = 0;
}
KERF_GLOBAL(1) half_a_wave(Nothing) {
  Tile16 t{};
  Sums c{};
  mma_f16(c, t, t);
}
KERF_GLOBAL(32) unaligned_tile(Nothing) {
  KERF_SHARED(uint16_t, rows, [16 * 20]);
  Tile16 t{};
  load_a(t, rows, 20);
}

struct OrderArgs {
  int *next, *threads, *blocks;
};
KERF_GLOBAL(4) write_order(OrderArgs a) {
  const int at = atomic_add(a.next, 1);
  a.threads[at] = static_cast<int>(thread_x());
  a.blocks[at] = static_cast<int>(block_x());
}

}  // namespace

TEST_CASE("every thread of a grid runs once and knows where it is") {
  std::vector<int> count(5 * 3 * 2 * 96);
  everywhere([&](const Call& call) {
    int threads = 0, blocks = 0;
    std::fill(count.begin(), count.end(), 0);
    launch(call, {.kernel = "count_indices", .blocks = {5, 3, 2}, .threads = 96}, count_indices, IndexArgs{count.data(), &threads, &blocks, 5, 3});
    CHECK(std::count(count.begin(), count.end(), 1) == static_cast<int>(count.size()));
    CHECK(threads == 96);
    CHECK(blocks == 5);
  });
}

TEMPLATE_TEST_CASE("shuffles bring values of 4 and 8 bytes from other lanes", "", int, float, int64_t, double) {
  using T = TestType;
  constexpr unsigned n = 96;
  std::vector<T> in(n), out(5 * n);
  for (unsigned i = 0; i < n; ++i) in[i] = static_cast<T>(i * i + 1) * static_cast<T>(sizeof(T) == 8 ? 1e9 : 1);
  everywhere([&](const Call& call) {
    std::fill(out.begin(), out.end(), T{});
    T* o = out.data();
    launch(call, {.kernel = "shuffles", .blocks = {1}, .threads = n}, shuffles<T>,
           ShuffleArgs<T>{in.data(), o, o + n, o + 2 * n, o + 3 * n, o + 4 * n});
    for (unsigned i = 0; i < n; ++i) {
      const unsigned l = i % 32, first = i - l;
      CHECK(o[i] == in[first + 5]);
      CHECK(o[n + i] == in[first + (l ^ 9)]);
      CHECK(o[2 * n + i] == in[l < 3 ? i : i - 3]);
      CHECK(o[3 * n + i] == in[l + 3 < 32 ? i + 3 : i]);
      CHECK(o[4 * n + i] == (l % 2 == 0 ? in[first + (l + 2) % 32] : T{}));
    }
  });
}

TEST_CASE("votes count the lanes of their mask, and no others") {
  std::vector<unsigned> out(3 * 64);
  everywhere([&](const Call& call) {
    std::fill(out.begin(), out.end(), 0u);
    launch(call, {.kernel = "votes", .blocks = {1}, .threads = 64}, votes, VoteArgs{out.data(), out.data() + 64, out.data() + 128});
    unsigned thirds = 0;
    for (unsigned l = 0; l < 32; l += 3) thirds |= 1u << l;
    for (unsigned i = 0; i < 64; ++i) {
      CHECK(out[i] == thirds);
      CHECK(out[64 + i] == (0x00F0000Fu >> i % 32 & 1 ? 0x00500005u : 0u));
      CHECK(out[128 + i] == (1 | 4));
    }
  });
}

TEST_CASE("memory is ordered by warp_sync within a warp and by block_sync within a block") {
  std::vector<float> x(256), y(256);
  std::iota(x.begin(), x.end(), 0.f);
  everywhere([&](const Call& call) {
    launch(call, {.kernel = "around_the_warp", .blocks = {1}, .threads = 64}, around_the_warp, FloatArgs{x.data(), y.data()});
    for (unsigned i = 0; i < 64; ++i) CHECK(y[i] == x[i] + 32);
    launch(call, {.kernel = "around_the_block", .blocks = {1}, .threads = 200}, around_the_block, FloatArgs{x.data(), y.data()});
    for (unsigned i = 0; i < 200; ++i) CHECK(y[i] == x[i] + 200);
  });
}

TEST_CASE("block_sum and warp_max give the same to all threads") {
  std::vector<float> x(20 * 256), y(x.size());
  for (float& v : x) v = static_cast<float>(small(1000));
  everywhere([&](const Call& call) {
    launch(call, {.kernel = "sums_of_blocks", .blocks = {20}, .threads = 256}, sums_of_blocks, FloatArgs{x.data(), y.data()});
    for (size_t b = 0; b < 20; ++b) {
      const float sum = std::accumulate(x.begin() + static_cast<int>(b) * 256, x.begin() + static_cast<int>(b) * 256 + 256, 0.f);
      for (size_t i = 0; i < 256; ++i) CHECK(y[b * 256 + i] == sum + 256 * sum + 256 + static_cast<float>(i / 32 * 32 + 31));
    }
  });
}

TEST_CASE("a copy lands at the wait for its group and not before") {
  alignas(16) std::array<uint32_t, 48> x{};
  std::iota(x.begin(), x.end(), 1u);
  everywhere([&](const Call& call) {
    std::array<uint32_t, 60> early{};
    std::array<uint32_t, 48> late{};
    launch(call, {.kernel = "copies", .blocks = {1}, .threads = 4}, copies, CopyArgs{x.data(), early.data(), late.data()});
    constexpr bool landed[5][3] = {{}, {true}, {true, true}, {true, true}, {true, true, true}};
    for (unsigned i = 0; i < 4; ++i)
      for (unsigned step = 0; step < 5; ++step)
        for (unsigned c = 0; c < 3; ++c) {
          INFO("thread " << i << " step " << step << " copy " << c);
          CHECK(early[(i * 5 + step) * 3 + c] == (landed[step][c] ? x[(i * 3 + c) * 4] : 0xFFFFFFFF));
        }
    CHECK(late == x);
  });
}

TEST_CASE("no addition of an atomic is lost over blocks on several OS threads") {
  std::vector<int> was(40 * 256);
  everywhere([&](const Call& call) {
    int count = 0;
    float sum = 0;
    launch(call, {.kernel = "count_up", .blocks = {40}, .threads = 256}, count_up, AtomicArgs{&count, was.data(), &sum});
    CHECK(count == 40 * 256);
    CHECK(sum == 40 * 255);
    std::sort(was.begin(), was.end());
    for (int i = 0; i < count; ++i) CHECK(was[static_cast<size_t>(i)] == i);
  });
}

TEST_CASE("dynamic shared memory is as large as the launch says, beside the static") {
  for (const int n : {1, 100, 12000}) {
    std::vector<int> y(static_cast<size_t>(n));
    everywhere([&](const Call& call) {
      launch(call, {.kernel = "fill_dynamic", .blocks = {1}, .threads = 32, .shared = static_cast<size_t>(n) * sizeof(int)}, fill_dynamic,
             DynamicArgs{y.data(), n});
      for (int i = 0; i < n; ++i) CHECK(y[static_cast<size_t>(i)] == n - 2 - i);
    });
  }
}

TEST_CASE("products of four bytes") {
  for (int i = 0; i < 10000; ++i) {
    const auto a = static_cast<uint32_t>(seeded()()), b = static_cast<uint32_t>(seeded()());
    int with_signs = i, without = i;
    for (int k = 0; k < 4; ++k) {
      const int x = static_cast<int>(a >> 8 * k & 255), y = static_cast<int>(b >> 8 * k & 255), y_signed = y < 128 ? y : y - 256;
      with_signs += (x < 128 ? x : x - 256) * y_signed;
      without += x * y_signed;
    }
    CHECK(dot4(a, b, i) == with_signs);
    CHECK(dot4_us(a, b, i) == without);
  }
  for (uint32_t h = 0; h < 0x7C00; ++h) CHECK(to_half(from_half(static_cast<uint16_t>(h))) == h);
}

TEST_CASE("tiles multiply as plain loops do") {
  check_product<Tile16, Sums, uint16_t, float, mma_f16>([](int x) { return to_half(static_cast<float>(x)); });
  check_product<Tile16, Sums, uint16_t, float, mma_bf16>([](int x) { return float_to_bf16(static_cast<float>(x)); });
  const auto byte = [](int x) { return static_cast<int8_t>(x); };
  check_product<Tile8, IntSums, int8_t, int32_t, mma_s8>(byte);
  check_product<Tile8, IntSums, int8_t, int32_t, mma_s8_half<0>>(byte, 0, 16);
  check_product<Tile8, IntSums, int8_t, int32_t, mma_s8_half<1>>(byte, 16, 16);
}

TEST_CASE("each element of an operand is held by one lane") {
  const auto once = [](auto at, int n, int k) {
    std::set<std::pair<int, int>> seen;
    for (int l = 0; l < kWave; ++l)
      for (int e = 0; e < n; ++e) seen.emplace(at(l, e).row, at(l, e).col);
    CHECK(static_cast<int>(seen.size()) == 16 * k);
    CHECK(kWave * n == 16 * k);
    CHECK(seen.begin()->first == 0);
    CHECK(seen.rbegin()->first == 15);
    CHECK(seen.rbegin()->second == k - 1);
  };
  once(Layout::a16, Tile16::n, 16);
  once(Layout::b16, Tile16::n, 16);
  once(Layout::a8, Tile8::n, 32);
  once(Layout::b8, Tile8::n, 32);
  once(Layout::c, Sums::n, 16);
}

TEST_CASE("a launch that no GPU takes is refused") {
  const auto refusal = [](const Launch& l) { return error_of(l, nothing, Nothing{}); };
  CHECK(refusal({.kernel = "nothing", .blocks = {1}, .threads = 1024}) == "no error");
  for (const unsigned threads : {0u, 1025u})
    CHECK_THAT(refusal({.kernel = "nothing", .blocks = {1}, .threads = threads}),
               Contains(fmt::format("a block of portable has 1 to 1024 threads: kernel nothing (1x1x1 blocks of {} threads", threads)));
  for (const simt::Index3 blocks : {simt::Index3{0}, {1, 0}, {1, 1, 0}, {1, 65536}, {1, 1, 65536}, {0x80000000}})
    CHECK_THAT(refusal({.kernel = "nothing", .blocks = blocks, .threads = 1}), Contains("a grid of portable has 1 to 2147483647x65535x65535 blocks"));
  Machine m;
  m.call.queue = nullptr;
  CHECK_THROWS_WITH(launch(m.call, {.kernel = "nothing", .blocks = {1}}, nothing, Nothing{}), Contains("without a device"));
}

TEST_CASE("shared memory over the limit is refused, static, dynamic or both") {
  constexpr size_t kLimit = 48 << 10;
  const auto refusal = [](auto* kernel, size_t shared) {
    return error_of({.kernel = "k", .blocks = {2}, .threads = 32, .shared = shared}, kernel, Nothing{});
  };
  CHECK(refusal(much_shared, 0) == "no error");
  CHECK_THAT(refusal(much_shared, 4), Contains("second takes shared memory to 49156 bytes, portable has 49152"));
  CHECK(refusal(nothing, kLimit) == "no error");
  CHECK_THAT(refusal(nothing, kLimit + 1), Contains("dynamic shared memory takes shared memory to 49153 bytes"));
  Machine large({}, 1, {.name = "large", .shared = 64 << 10});
  launch(large.call, {.kernel = "k", .blocks = {1}, .threads = 32, .shared = 16 << 10}, much_shared, Nothing{});
  CHECK(large.queue.counters().launches == 1);
}

TEST_CASE("an error names kernel, shape, thread, block and line") {
  const auto says = [](int what, std::initializer_list<const char*> parts) {
    const std::string text = error_of_wrong(what);
    CHECK_THAT(text, Contains("kernel wrong (3x2x1 blocks of 64 threads, 0 bytes of dynamic shared memory)"));
    for (const char* part : parts) CHECK_THAT(text, Contains(part));
  };
  says(0, {"dead-lock: thread 0 of block (0, 0, 0) waits in block_sync at test_simt.cpp:", "; 24 threads have returned"});
  says(1, {"divergent barrier: thread 0 of block (0, 0, 0) waits at test_simt.cpp:", "thread 40 of block (0, 0, 0) at test_simt.cpp:"});
  says(2, {"shfl_xor at test_simt.cpp:", "thread 3 of block (0, 0, 0) has returned"});
  says(3, {"shfl_xor at test_simt.cpp:", "for lanes 0xf: thread 36 of block (0, 0, 0) is not one of them"});
  says(4, {"lanes that differ: thread 2 of block (0, 0, 0) does ballot at test_simt.cpp:", "0xfffffffe"});
  says(5, {"ballot at test_simt.cpp:", "thread 2 of block (0, 0, 0) has returned"});
  for (const int what : {6, 7}) says(what, {"copy_async by thread 0 of block (0, 0, 0): an address is no multiple of 16"});
  says(8, {"lanes that differ: thread 2 of block (0, 0, 0) does warp_sync at test_simt.cpp:", "for lanes 0xfffe"});
  says(9, {"lanes that differ: thread 16 of block (0, 0, 0) does shfl at test_simt.cpp:", "thread 0 of block (0, 0, 0) does shfl at"});
  says(10, {"of the kernel itself"});
  for (int what = 0; what <= 10; ++what)
    for (const simt::Order order : {simt::Order{Schedule::reverse}, {Schedule::random, 3}}) CHECK(error_of_wrong(what, order) != "no error");
  CHECK(error_of_wrong(11) == "no error");
}

TEST_CASE("a queue goes on after an error") {
  for (const int threads : {1, 4}) {
    Machine m({}, threads);
    for (int i = 0; i < 3; ++i) {
      CHECK_THROWS_AS(launch(m.call, {.kernel = "wrong", .blocks = {9}, .threads = 64}, wrong, WrongArgs{2, nullptr}), Error);
      float x[64]{}, y[64];
      launch(m.call, {.kernel = "around_the_warp", .blocks = {1}, .threads = 64}, around_the_warp, FloatArgs{x, y});
      CHECK(std::count(y, y + 64, 32.f) == 64);
    }
    CHECK(m.queue.counters().launches == 3);
    CHECK(m.queue.counters().blocks >= 3);
  }
}

TEST_CASE("tiles need their whole wave and rows on 16 bytes") {
  CHECK_THAT(error_of({.kernel = "unaligned", .blocks = {1}, .threads = 32}, unaligned_tile, Nothing{}), Contains("load of a tile"));
  CHECK_THAT(error_of({.kernel = "half", .blocks = {1}, .threads = kWave - 1}, half_a_wave, Nothing{}),
             Contains("mma_f16") && Contains("ends before"));
}

TEST_CASE("threads and blocks run in the order that was asked for") {
  const auto order = [](simt::Order o) {
    Machine m(o);
    int next = 0;
    std::array<int, 24> threads{}, blocks{};
    launch(m.call, {.kernel = "write_order", .blocks = {6}, .threads = 4}, write_order, OrderArgs{&next, threads.data(), blocks.data()});
    std::vector<int> both;
    for (size_t i = 0; i < 24; ++i) both.push_back(blocks[i] * 4 + threads[i]);
    return both;
  };
  std::vector<int> up(24);
  std::iota(up.begin(), up.end(), 0);
  const std::vector<int> down(up.rbegin(), up.rend()), random = order({Schedule::random, 5});
  CHECK(order({}) == up);
  CHECK(order({Schedule::reverse}) == down);
  CHECK(random == order({Schedule::random, 5}));
  CHECK(random != order({Schedule::random, 6}));
  CHECK(random != up);
  auto sorted = random;
  std::sort(sorted.begin(), sorted.end());
  CHECK(sorted == up);
}

TEST_CASE("a word outside of a kernel is a mistake of ours") { CHECK_THROWS_AS(thread_x(), std::logic_error); }

}  // namespace kerf::KERF_GPU_NS
