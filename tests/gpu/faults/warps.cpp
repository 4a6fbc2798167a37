// Faults of what the lanes of a warp do together.
#include "backends/gpu/gpu.h"
#include "tests/gpu/faults/faults.h"

namespace kerf::KERF_GPU_NS {
namespace {

int value(int i) { return i * 5 % 17 - 8; }
uint32_t bytes(int i) { return static_cast<uint32_t>(i) * 0x9E3779B9u; }

struct RowArgs {
  const uint32_t *w, *x;  // [rows, words], [words]
  int* y;
  int rows, words;
};
/// A matrix of bytes times a vector of bytes, a warp per row: w unsigned, x signed.
template <int fault>
KERF_GLOBAL(64)
gemv(RowArgs a) {
  const int row = static_cast<int>(block_x() * 2 + warp()), l = static_cast<int>(lane());
  if (row >= a.rows) return;
  int sum = 0;
  for (int i = l; i < a.words; i += kLanes)
    sum = fault == 33 ? dot4(a.w[row * a.words + i], a.x[i], sum) : dot4_us(a.w[row * a.words + i], a.x[i], sum);
  if (fault == 34) {
    if (l != 5) sum += shfl_xor(sum, 16);
  } else if (fault == 35) {
    sum += shfl_xor(sum, 16, 0x0FFFFFFF);
  } else if (fault == 36) {
    sum += shfl_xor(sum, 16, l < 16 ? kAll : 0xFFFF0001);
  } else if (fault == 37) {
    if (l == 31) return;
    sum += shfl_xor(sum, 16);
  } else if (fault != 38) {
    sum += shfl_xor(sum, 16);
  }
  for (unsigned bits = 8; bits > 0; bits /= 2) sum += shfl_xor(sum, bits);
  if (l == 0) a.y[row] = sum;
}
template <int fault>
bool run_gemv(const Call& call) {
  constexpr int rows = 5, words = 70;
  Memory<uint32_t> w(rows * words, bytes), x(words, [](int i) { return bytes(i + 1000); });
  Memory<int> y(rows);
  launch(call, {.kernel = "gemv", .blocks = {3}, .threads = 64}, gemv<fault>, RowArgs{w.data(), x.data(), y.data(), rows, words});
  return y.is([&](int r) {
    int sum = 0;
    for (int i = 0; i < words * 4; ++i)
      sum += static_cast<uint8_t>(bytes(r * words + i / 4) >> i % 4 * 8) * static_cast<int8_t>(bytes(i / 4 + 1000) >> i % 4 * 8);
    return sum;
  });
}

struct WarpArgs {
  const float* x;
  float* y;
  int n;
};
/// Each lane's value and that of the lane 16 further on, exchanged through shared memory, twice.
template <int fault>
KERF_GLOBAL(64)
exchange_halves(WarpArgs a) {
  KERF_SHARED(float, seat, [64]);
  const unsigned t = thread_x(), other = t ^ 16;
  float x = a.x[t];
  for (int i = 0; i < 2; ++i) {
    seat[t] = x;
    if (fault != 39) warp_sync();
    x += 2 * seat[other];
    if (fault != 40) warp_sync();
  }
  a.y[t] = x;
}
template <int fault>
bool run_exchange(const Call& call) {
  Memory<float> x(64, value), y(64);
  launch(call, {.kernel = "exchange_halves", .blocks = {1}, .threads = 64}, exchange_halves<fault>, WarpArgs{x.data(), y.data(), 64});
  return y.is([](int i) { return 5 * value(i) + 4 * value(i ^ 16); });
}

/// Softmax-like: x - max over rows of n < 32 values, a row per warp.
template <int fault>
KERF_GLOBAL(64)
below_largest(WarpArgs a) {
  const int row = static_cast<int>(warp()), l = static_cast<int>(lane());
  const bool mine = l < a.n;
  float largest;
  if (fault == 41) {  // the lanes behind the row stay away
    if (!mine) return;
    largest = warp_max(a.x[row * a.n + l]);
  } else if (fault == 42) {  // a mask of those within the row, and a lane behind it is asked
    if (!mine) return;
    largest = a.x[row * a.n + l];
    for (unsigned bits = 16; bits > 0; bits /= 2) largest = larger(largest, shfl_xor(largest, bits, (1u << a.n) - 1));
  } else if (fault == 43) {  // what does not take part is 0, which is larger than negative ones
    largest = warp_max(mine ? a.x[row * a.n + l] : 0);
  } else if (fault == 44) {  // a barrier of the block that one of its warps does not come to
    if (row == 0) block_sync();
    largest = warp_max(mine ? a.x[row * a.n + l] : -INFINITY);
  } else {
    largest = warp_max(mine ? a.x[row * a.n + l] : -INFINITY);
  }
  if (mine) a.y[row * a.n + l] = a.x[row * a.n + l] - largest;
}
template <int fault>
bool run_largest(const Call& call) {
  constexpr int n = 20;
  const auto x = [](int i) { return i == 7 || i == 31 ? -1 : -2 - i % 5; };
  Memory<float> in(2 * n, x), y(2 * n);
  launch(call, {.kernel = "below_largest", .blocks = {1}, .threads = 64}, below_largest<fault>, WarpArgs{in.data(), y.data(), n});
  return y.is([&](int i) { return x(i) + 1; });
}

struct TopArgs {
  const int* score;  // [32]
  int* best;         // [4]
  int* weight;       // [4], one more than there are chosen
};
/// The four largest of 32 scores, each a lane's, as a router chooses experts.
template <int fault>
KERF_GLOBAL(32)
choose(TopArgs a) {
  int mine = a.score[lane()];
  for (int k = 0; k < 4; ++k) {
    int best = mine, who = static_cast<int>(lane());
    for (unsigned bits = 16; bits > 0; bits /= 2) {
      const int other = shfl_xor(best, bits), name = shfl_xor(who, bits);
      const bool take = fault == 45 ? other >= best : other > best || (other == best && name < who);
      best = take ? other : best;
      who = take ? name : who;
    }
    if (static_cast<int>(lane()) == who && fault != 46) mine = -1000;
    if (lane() == 0) a.best[k] = fault == 47 ? shfl(who, 0) : who;
    const int score = fault == 48 ? shfl(a.score[lane()], static_cast<unsigned>(k)) : shfl(a.score[lane()], static_cast<unsigned>(who));
    if (lane() == 0) a.weight[fault == 49 ? k + 1 : k] = score;
  }
}
template <int fault>
bool run_choose(const Call& call) {
  const auto score = [](int i) { return i * 13 % 16; };  // each twice
  Memory<int> in(32, score), best(4), weight(4);
  launch(call, {.kernel = "choose", .blocks = {1}, .threads = 32}, choose<fault>, TopArgs{in.data(), best.data(), weight.data()});
  const int want[4] = {11, 27, 6, 22};  // 15 15 14 14
  return best.is([&](int k) { return want[k]; }) && weight.is([&](int k) { return score(want[k]); });
}

}  // namespace

std::vector<Fault> warp_faults() {
  return {
      {0, "gemv", "", 0, run_gemv<0>},
      {33, "gemv", "unsigned bytes are multiplied as signed ones", kEverywhere, run_gemv<33>},
      {34, "gemv", "one lane skips a shuffle", kEverywhere, run_gemv<34>},
      {35, "gemv", "lanes that the mask does not name", kEverywhere, run_gemv<35>},
      {36, "gemv", "lanes with different masks", kEverywhere, run_gemv<36>},
      {37, "gemv", "a mask names a lane that has returned", kEverywhere, run_gemv<37>},
      {38, "gemv", "a sum over half of the lanes", kEverywhere, run_gemv<38>},
      {0, "exchange_halves", "", 0, run_exchange<0>},
      {39, "exchange_halves", "no warp_sync between a write and the reading of another lane", kEverywhere, run_exchange<39>},
      {40, "exchange_halves", "no warp_sync between reading and the next write", kEverywhere, run_exchange<40>},
      {0, "below_largest", "", 0, run_largest<0>},
      {41, "below_largest", "lanes behind the end of a row return before a shuffle", kEverywhere, run_largest<41>},
      {42, "below_largest", "a shuffle from a lane that is not in the mask", kEverywhere, run_largest<42>},
      {43, "below_largest", "lanes behind the end of a row bring 0 to a maximum", kEverywhere, run_largest<43>},
      {44, "below_largest", "a barrier in a branch that one warp takes", kEverywhere, run_largest<44>},
      {0, "choose", "", 0, run_choose<0>},
      {45, "choose", "of equal scores each lane prefers another", kEverywhere, run_choose<45>},
      {46, "choose", "what was chosen is not taken out", kEverywhere, run_choose<46>},
      {47, "choose", "a shuffle within the branch of one lane", kEverywhere, run_choose<47>},
      {48, "choose", "a shuffle from the wrong lane", kEverywhere, run_choose<48>},
      {49, "choose", "global memory is written past the end, by one value", asan, run_choose<49>},
  };
}

}  // namespace kerf::KERF_GPU_NS
