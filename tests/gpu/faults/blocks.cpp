// Faults of barriers, of shared and global memory, and between blocks.
#include "backends/gpu/gpu.h"
#include "tests/gpu/faults/faults.h"

namespace kerf::KERF_GPU_NS {
namespace {

constexpr int kBlock = 128;
int value(int i) { return i * 7 % 23 - 11; }

struct ReduceArgs {
  const int* x;
  int* y;
  int n;
};
int sum_of(int first, int n, int end) {
  int sum = 0;
  for (int i = first; i < first + n && i < end; ++i) sum += value(i);
  return sum;
}

/// A sum of each block, halved by a tree in shared memory.
template <int fault>
KERF_GLOBAL(kBlock)
reduce(ReduceArgs a) {
  KERF_SHARED(int, part, [kBlock]);
  const int t = static_cast<int>(thread_x()), i = static_cast<int>(block_x()) * kBlock + t;
  if (fault == 5 && i >= a.n) return;
  part[t] = i < a.n ? a.x[i] : 0;
  if (fault == 3) {
    if (t < kBlock / 2)
      block_sync();
    else
      block_sync();
  } else if (fault != 1) {
    block_sync();
  }
  for (int half = kBlock / 2; half > 0; half /= 2) {
    if (t < half) part[t] += part[t + half];
    if (fault == 4) {
      if (t < half) block_sync();
    } else if (fault != 2) {
      block_sync();
    }
    if (fault == 6 && t >= half && half < 8) break;
  }
  if (t == 0) a.y[block_x()] = part[0];
}
template <int fault>
bool run_reduce(const Call& call) {
  constexpr int n = 1000, blocks = (n + kBlock - 1) / kBlock;
  Memory<int> x(n, value), y(blocks);
  launch(call, {.kernel = "reduce", .blocks = {blocks}, .threads = kBlock}, reduce<fault>, ReduceArgs{x.data(), y.data(), n});
  return y.is([](int b) { return sum_of(b * kBlock, kBlock, n); });
}

struct TotalArgs {
  const int* x;
  int *part, *done, *total;
};
/// One sum over all blocks, each of which has kBlock values.
template <int fault>
KERF_GLOBAL(kBlock)
total(TotalArgs a) {
  KERF_SHARED(int, part, [kBlock / kLanes]);
  const int sum = block_sum<kBlock>(a.x[block_x() * kBlock + thread_x()], part);
  if (thread_x() != 0) return;
  if (fault == 7) {
    *a.total += sum;
  } else if (fault == 8) {  // the last block adds: but a relaxed count orders nothing
    a.part[block_x()] = sum;
    if (atomic_add(a.done, 1) == static_cast<int>(blocks_x()) - 1)
      for (unsigned b = 0; b < blocks_x(); ++b) *a.total += a.part[b];
  } else if (fault == 9) {  // each block goes on from the one before it
    a.part[block_x()] = sum + (block_x() > 0 ? a.part[block_x() - 1] : 0);
    if (block_x() + 1 == blocks_x()) *a.total = a.part[block_x()];
  } else {
    atomic_add(a.total, sum);
  }
}
template <int fault>
bool run_total(const Call& call) {
  constexpr int blocks = 6, n = blocks * kBlock;
  Memory<int> x(n, value), part(blocks, [](int) { return 0; });
  int done = 0, sum = 0;
  launch(call, {.kernel = "total", .blocks = {blocks}, .threads = kBlock}, total<fault>, TotalArgs{x.data(), part.data(), &done, &sum});
  return sum == sum_of(0, n, n);
}

/// Running sums within each block: y[i] = x[i] + y[i - 1], in steps of doubled distance.
template <int fault>
KERF_GLOBAL(kBlock)
scan(ReduceArgs a) {
  KERF_SHARED(int, row, [2][kBlock]);
  const int t = static_cast<int>(thread_x()), i = static_cast<int>(block_x()) * kBlock + t;
  int from = 0;
  row[0][t] = i < a.n ? a.x[i] : 0;
  block_sync();
  for (int by = 1; by < kBlock; by *= 2) {
    const int to = fault == 10 ? from : 1 - from, left = fault == 11 && by == 1 ? row[from][t - 1] : t >= by ? row[from][t - by] : 0;
    row[to][t] = row[from][t] + left;
    block_sync();
    from = to;
  }
  if (fault == 12 && t == kBlock - 1) row[1][t + 1] = 0;
  if (i < a.n || fault == 13) a.y[i] = row[from][t];
}
template <int fault>
bool run_scan(const Call& call) {
  constexpr int n = 300, blocks = (n + kBlock - 1) / kBlock;
  Memory<int> x(n, value), y(n);
  launch(call, {.kernel = "scan", .blocks = {blocks}, .threads = kBlock}, scan<fault>, ReduceArgs{x.data(), y.data(), n});
  return y.is([](int i) { return sum_of(i / kBlock * kBlock, i % kBlock + 1, n); });
}

struct CopyArgs {
  const int* x;
  int* y;
  int64_t n, rows, cols;
};
/// y = 2 x, row by row.
template <int fault>
KERF_GLOBAL(kBlock)
scale(CopyArgs a) {
  const int64_t i = static_cast<int64_t>(block_x()) * kBlock + thread_x();
  if (fault == 15) {
    const int x = shfl(a.x[i], lane());
    if (i < a.n) a.y[i] = 2 * x;
  } else if (fault == 14) {
    const int row = static_cast<int>(a.rows), cols = static_cast<int>(a.cols);
    if (i < a.n) a.y[i] = 2 * a.x[(row * cols + static_cast<int>(i)) % a.n];
  } else if (i < a.n) {
    a.y[i] = 2 * a.x[(a.rows * a.cols + i) % a.n];
  }
}
template <int fault>
bool run_scale(const Call& call) {
  constexpr int n = 1 << 10, odd = n - 24;
  const int size = fault == 15 ? odd : n;
  constexpr int64_t rows = 65536, cols = 40000;
  Memory<int> x(static_cast<size_t>(size), value), y(static_cast<size_t>(size));
  launch(call, {.kernel = "scale", .blocks = {blocks_for(size, kBlock)}, .threads = kBlock}, scale<fault>,
         CopyArgs{x.data(), y.data(), size, fault == 15 ? 0 : rows, cols});
  return y.is([&](int i) { return 2 * value(static_cast<int>(((fault == 15 ? 0 : rows * cols) + i) % size)); });
}

/// Two tensors in one allocation, as on a device; between them lies padding.
template <int fault>
KERF_GLOBAL(kBlock)
add_rows(CopyArgs a) {
  const int t = static_cast<int>(thread_x());
  const int* second = a.x + 128;
  const int x = shfl(t < a.n + (fault == 16 ? 4 : 0) ? a.x[t] : 0, lane());
  if (t < a.n) a.y[t] = x + second[t];
}
template <int fault>
bool run_add_rows(const Call& call) {
  constexpr int n = 100;
  Memory<int> x(128 + n, value), y(n);
  simt::forbid(x.data() + n, (128 - n) * sizeof(int));
  launch(call, {.kernel = "add_rows", .blocks = {1}, .threads = kBlock}, add_rows<fault>, CopyArgs{x.data(), y.data(), n, 0, 0});
  simt::allow(x.data() + n, (128 - n) * sizeof(int));
  return y.is([](int i) { return value(i) + value(i + 128); });
}

struct CountArgs {
  const int* x;
  int* y;  // [16]
};
/// How often each of 16 values occurs: counted per block, then added up.
template <int fault>
KERF_GLOBAL(kBlock)
histogram(CountArgs a) {
  KERF_SHARED(int, count, [16]);
  const int t = static_cast<int>(thread_x()), bin = a.x[block_x() * kBlock + thread_x()] & 15;
  if (fault != 17 && t < 16) count[t] = 0;
  if (fault != 18) block_sync();
  if (fault == 19)
    ++count[bin];
  else
    atomic_add(&count[bin], 1);
  block_sync();
  if (t >= 16) return;
  if (fault == 20)
    a.y[t] += count[t];
  else
    atomic_add(&a.y[t], count[t]);
}
template <int fault>
bool run_histogram(const Call& call) {
  constexpr int n = 4 * kBlock;
  Memory<int> x(n, value), y(16, [](int) { return 0; });
  launch(call, {.kernel = "histogram", .blocks = {4}, .threads = kBlock}, histogram<fault>, CountArgs{x.data(), y.data()});
  return y.is([](int bin) {
    int count = 0;
    for (int i = 0; i < n; ++i) count += (value(i) & 15) == bin;
    return count;
  });
}

/// Reversed through dynamic shared memory.
template <int fault>
KERF_GLOBAL(kBlock)
reverse(CountArgs a) {
  KERF_SHARED_DYNAMIC(int, all);
  const int t = static_cast<int>(thread_x());
  all[t] = a.x[t];
  block_sync();
  a.y[t] = all[kBlock - 1 - t];
}
template <int fault>
bool run_reverse(const Call& call) {
  Memory<int> x(kBlock, value), y(kBlock);
  const size_t bytes = fault == 21 ? (kBlock - 4) * sizeof(int) : fault == 22 ? (48 << 10) + 16 : kBlock * sizeof(int);
  launch(call, {.kernel = "reverse", .blocks = {fault == 23 ? 0u : 1u}, .threads = fault == 24 ? 2048u : kBlock, .shared = bytes}, reverse<fault>,
         CountArgs{x.data(), y.data()});
  return y.is([](int i) { return value(kBlock - 1 - i); });
}

struct TransposeArgs {
  const int* x;  // [rows, cols]
  int* y;        // [cols, rows]
  int rows, cols;
};
template <int fault>
KERF_GLOBAL(256)
transpose(TransposeArgs a) {
  KERF_SHARED(int, tile, [16][17]);
  const int r = static_cast<int>(thread_x()) / 16, c = static_cast<int>(thread_x()) % 16;
  const int row = static_cast<int>(block_y()) * 16, col = static_cast<int>(block_x()) * 16;
  if (row + r < a.rows && col + c < a.cols) tile[r][c] = a.x[(row + r) * a.cols + col + c];
  if (fault != 25) block_sync();
  const bool inside = fault == 26 ? row + r < a.rows && col + c < a.cols : row + c < a.rows && col + r < a.cols;
  if (inside) a.y[(col + r) * a.rows + row + c] = tile[fault == 27 ? r : c][fault == 27 ? c : r];
}
template <int fault>
bool run_transpose(const Call& call) {
  constexpr int rows = 40, cols = 21;
  Memory<int> x(rows * cols, value), y(rows * cols);
  launch(call, {.kernel = "transpose", .blocks = {2, 3}, .threads = 256}, transpose<fault>, TransposeArgs{x.data(), y.data(), rows, cols});
  return y.is([](int i) { return value(i % rows * cols + i / rows); });
}

struct PickArgs {
  const int* x;
  int *y, *count;
  float* sum;
};
/// The values above 5, in their order: each warp counts, a prefix of the counts says where each begins.
template <int fault>
KERF_GLOBAL(kBlock)
pick(PickArgs a) {
  KERF_SHARED(int, counts, [kBlock / kLanes]);
  const int x = a.x[thread_x()];
  const unsigned votes = ballot(x > 5);
  if (lane() == 0) counts[warp()] = __builtin_popcount(votes);
  block_sync();
  int at = __builtin_popcount(votes & ((1u << lane()) - 1));
  for (unsigned w = 0; w < warp(); ++w) at += counts[w];
  if (fault == 28 && x > 5) at = atomic_add(a.count, 1);
  if (x > 5) a.y[at] = x;
  const float small = thread_x() == 0 ? 0x1p24f : 1;
  if (fault == 29)
    atomic_add(a.sum, small);
  else if (thread_x() == 0)
    *a.sum = 0x1p24f + kBlock;  // 2^24 + 127, rounded
}
template <int fault>
bool run_pick(const Call& call) {
  Memory<int> x(kBlock, value);
  std::vector<int> want;
  for (int i = 0; i < kBlock; ++i)
    if (value(i) > 5) want.push_back(value(i));
  Memory<int> y(want.size());
  int count = 0;
  float sum = 0;
  launch(call, {.kernel = "pick", .blocks = {1}, .threads = kBlock}, pick<fault>, PickArgs{x.data(), y.data(), &count, &sum});
  return y.is([&](int i) { return want[static_cast<size_t>(i)]; }) && sum == 0x1p24f + kBlock;
}

struct WideArgs {
  const int* x;
  int* y;
  int offset;
};
struct alignas(16) Four {
  int v[4];
};
/// Four values a load.
template <int fault>
KERF_GLOBAL(32)
sum_fours(WideArgs a) {
  const int t = static_cast<int>(thread_x());
  const Four f = *reinterpret_cast<const Four*>(a.x + a.offset + t * 4);
  int sums[2];
  sums[0] = f.v[0] + f.v[1];
  if (fault != 31 || t % 2 == 0) sums[1] = f.v[2] + f.v[3];
  const int shift = fault == 32 ? t + 1 : t % 32;
  a.y[t] = sums[0] + sums[1] + static_cast<int>((1u << shift) & 1);
}
template <int fault>
bool run_fours(const Call& call) {
  constexpr int offset = fault == 30 ? 1 : 0;
  Memory<int> x(32 * 4 + offset, value), y(32);
  launch(call, {.kernel = "sum_fours", .blocks = {1}, .threads = 32}, sum_fours<fault>, WideArgs{x.data(), y.data(), offset});
  return y.is([](int i) { return sum_of(offset + i * 4, 4, 1000) + (i == 0 && fault != 32 ? 1 : 0); });
}

}  // namespace

std::vector<Fault> block_faults() {
  return {
      {0, "reduce", "", 0, run_reduce<0>},
      {1, "reduce", "the first barrier is missing", kEverywhere, run_reduce<1>},
      {2, "reduce", "the barrier in the loop is missing", kEverywhere, run_reduce<2>},
      {3, "reduce", "half of the block waits at another barrier", kEverywhere, run_reduce<3>},
      {4, "reduce", "a barrier in a branch that half of the block takes", kEverywhere, run_reduce<4>},
      {5, "reduce", "threads behind the end return before a barrier", kEverywhere, run_reduce<5>},
      {6, "reduce", "threads leave a loop with a barrier at different trips", kEverywhere, run_reduce<6>},
      {0, "total", "", 0, run_total<0>},
      {7, "total", "all blocks add to one word, without an atomic", tsan, run_total<7>},
      {8, "total", "the last block reads sums that nothing orders before it", tsan, run_total<8>},
      {9, "total", "a block reads what the block before it wrote", kEverywhere, run_total<9>},
      {0, "scan", "", 0, run_scan<0>},
      {10, "scan", "threads write the row that others still read", kEverywhere, run_scan<10>},
      {11, "scan", "a shared index of -1", kEverywhere, run_scan<11>},
      {12, "scan", "a shared index past the array", asan, run_scan<12>},
      {13, "scan", "global memory is written past the end, at the tail", asan, run_scan<13>},
      {0, "scale", "", 0, run_scale<0>},
      {14, "scale", "an offset overflows int", asan, run_scale<14>},
      {15, "scale", "global memory is read past the end, at the tail", asan, run_scale<15>},
      {0, "add_rows", "", 0, run_add_rows<0>},
      {16, "add_rows", "the padding behind a tensor is read", asan, run_add_rows<16>},
      {0, "histogram", "", 0, run_histogram<0>},
      {17, "histogram", "counts in shared memory are not set to 0", kEverywhere, run_histogram<17>},
      {18, "histogram", "counts are set to 0 while others count", kEverywhere, run_histogram<18>},
      {19, "histogram", "threads count in shared memory without an atomic", tsan, run_histogram<19>},
      {20, "histogram", "blocks add up without an atomic", tsan, run_histogram<20>},
      {0, "reverse", "", 0, run_reverse<0>},
      {21, "reverse", "the launch gives too little dynamic shared memory", asan, run_reverse<21>},
      {22, "reverse", "more shared memory than there is", kEverywhere, run_reverse<22>},
      {23, "reverse", "a grid of no blocks", kEverywhere, run_reverse<23>},
      {24, "reverse", "more threads than a block may have", kEverywhere, run_reverse<24>},
      {0, "transpose", "", 0, run_transpose<0>},
      {25, "transpose", "the barrier between filling and reading a tile is missing", kEverywhere, run_transpose<25>},
      {26, "transpose", "the test of the edge is that of the other matrix", kEverywhere, run_transpose<26>},
      {27, "transpose", "row and column of a tile are exchanged", kEverywhere, run_transpose<27>},
      {0, "pick", "", 0, run_pick<0>},
      {28, "pick", "places are given out in the order of arrival", kEverywhere, run_pick<28>},
      {29, "pick", "floats are added up in the order of arrival", kEverywhere, run_pick<29>},
      {0, "sum_fours", "", 0, run_fours<0>},
      {30, "sum_fours", "a load of 16 bytes from an address that is no multiple of 16", asan, run_fours<30>},
      {31, "sum_fours", "a register is not set in half of the threads", msan, run_fours<31>},
      {32, "sum_fours", "a shift by 32", asan, run_fours<32>},
  };
}

}  // namespace kerf::KERF_GPU_NS
