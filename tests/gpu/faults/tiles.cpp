// Faults of tiles in shared memory, of asynchronous copies and of tile products.
#include "backends/gpu/gpu.h"
#include "tests/gpu/faults/faults.h"

namespace kerf::KERF_GPU_NS {
namespace {

int value(int i) { return i * 7 % 13 - 6; }

struct MatmulArgs {
  const float *a, *b;  // [m, k], [n, k]
  float* c;            // [m, n]
  int m, n, k;
};
/// c = a b^T by tiles of 16 x 16, of which the next is loaded while this one is used.
template <int fault>
KERF_GLOBAL(256)
matmul(MatmulArgs p) {
  KERF_SHARED(float, a, [2][16][17]);
  KERF_SHARED(float, b, [2][16][17]);
  const int r = static_cast<int>(thread_x()) / 16, c = static_cast<int>(thread_x()) % 16;
  const int row = static_cast<int>(block_y()) * 16, col = static_cast<int>(block_x()) * 16;
  const auto fill = [&](int into, int k) {
    const bool inside = k + c < p.k;
    if (fault == 51 && !inside) return;
    a[into][r][c] = row + r < p.m && (inside || fault == 52) ? p.a[(row + r) * p.k + k + c] : 0;
    b[into][r][c] = col + r < p.n && (inside || fault == 52) ? p.b[(col + r) * p.k + k + c] : 0;
  };
  fill(0, 0);
  block_sync();
  float sum = 0;
  for (int k = 0, buffer = 0; k < p.k; k += 16, buffer ^= 1) {
    if (k + 16 < p.k) fill(buffer ^ 1, k + 16);
    const int from = fault == 53 ? buffer ^ 1 : buffer;
    for (int i = 0; i < 16; ++i) sum = fmaf(a[from][r][i], b[from][c][i], sum);
    if (fault != 50) block_sync();
  }
  if (row + r < p.m && col + c < p.n) p.c[(row + r) * p.n + col + c] = sum;
}
template <int fault>
bool run_matmul(const Call& call) {
  constexpr int m = 20, n = 35, k = 71;
  const auto b_value = [](int i) { return value(i + 3); };
  Memory<float> a(m * k, value), b(n * k, b_value), c(m * n);
  launch(call, {.kernel = "matmul", .blocks = {3, 2}, .threads = 256}, matmul<fault>, MatmulArgs{a.data(), b.data(), c.data(), m, n, k});
  return c.is([&](int i) {
    int sum = 0;
    for (int j = 0; j < k; ++j) sum += value(i / n * k + j) * b_value(i % n * k + j);
    return sum;
  });
}

struct StreamArgs {
  const float* x;  // [steps, 128]
  float* y;        // [128]
  int steps;
};
/// Column sums of rows that arrive by copies, two of them under way. Each thread copies four values and adds up a column.
template <int fault>
KERF_GLOBAL(128)
stream(StreamArgs p) {
  constexpr int kSlots = fault == 59 ? 2 : 3;
  KERF_SHARED(float, row, [kSlots][128 + 4]);
  const int t = static_cast<int>(thread_x());
  const auto fetch = [&](int step) {
    if (t < 32 && step < p.steps) copy_async16(&row[step % kSlots][t * 4 + (fault == 58 ? 1 : 0)], p.x + step * 128 + t * 4);
    if (fault != 56) copy_commit();
  };
  fetch(0);
  fetch(1);
  float sum = 0;
  for (int step = 0; step < p.steps; ++step) {
    if constexpr (fault == 55)
      copy_wait<2>();
    else if constexpr (fault != 54)
      copy_wait<1>();
    if (fault != 57) block_sync();
    fetch(step + 2);
    sum += row[step % kSlots][(t + 4) % 128];
  }
  p.y[t] = sum;
}
template <int fault>
bool run_stream(const Call& call) {
  constexpr int steps = 7;
  alignas(64) static float x[steps * 128];
  for (int i = 0; i < steps * 128; ++i) x[i] = static_cast<float>(value(i));
  Memory<float> y(128);
  launch(call, {.kernel = "stream", .blocks = {1}, .threads = 128}, stream<fault>, StreamArgs{x, y.data(), steps});
  return y.is([](int t) {
    int sum = 0;
    for (int s = 0; s < steps; ++s) sum += value(s * 128 + (t + 4) % 128);
    return sum;
  });
}

struct TileArgs {
  const uint16_t *a, *b;  // f16 [rows, k], [16, k]
  float* c;               // [rows, 16]
  int rows, k;
};
/// 32 rows by 16 columns: a wave for 16 rows, two tiles of 16 along k each trip.
template <int fault>
KERF_GLOBAL(2 * kWave)
tiles(TileArgs p) {
  constexpr int kWide = 32, kStride = kWide + (fault == 62 ? 4 : 8);
  KERF_SHARED(uint16_t, a, [32 * kStride]);
  KERF_SHARED(uint16_t, b, [16 * kStride]);
  const int t = static_cast<int>(thread_x()), wave = t / (fault == 68 ? 32 : kWave), first = wave % 2 * 16;
  Sums c;
  if (fault != 64) for_each(c, [](int, int, float& e) { e = 0; });
  for (int k = 0; k < p.k; k += kWide) {
    for (int i = t; i < 32 * kWide; i += 2 * kWave) {
      const int r = i / kWide, x = i % kWide;
      if (k + x < p.k) {
        a[r * kStride + x] = r < p.rows ? p.a[r * p.k + k + x] : uint16_t{0};
        if (r < 16) b[r * kStride + x] = p.b[r * p.k + k + x];
      } else if (fault != 65) {
        a[r * kStride + x] = 0;
        if (r < 16) b[r * kStride + x] = 0;
      }
    }
    block_sync();
    if (fault == 66 && t == 3) return;
    for (int half = 0; half < 2; ++half) {
      Tile16 x, y;
      const int at = fault == 63 ? 0 : half * 16;
      load_a(x, a + first * kStride + half * 16, fault == 61 ? kWide : kStride);
      load_b(y, b + at, kStride);
      if (fault == 67)
        mma_f16(c, y, x);
      else
        mma_f16(c, x, y);
    }
    if (fault != 69) block_sync();
  }
  for_each(c, [&](int row, int col, float& e) {
    if (first + row < p.rows) p.c[fault == 60 ? (first + col) * 16 + row : (first + row) * 16 + col] = e;
  });
}
template <int fault>
bool run_tiles(const Call& call) {
  constexpr int rows = fault == 60 ? 32 : 27, k = 85;
  const auto half = [](int x) { return float_to_half(static_cast<float>(x)); };
  Memory<uint16_t> a(rows * k, [&](int i) { return half(value(i)); }), b(16 * k, [&](int i) { return half(value(i + 5)); });
  Memory<float> c(rows * 16);
  launch(call, {.kernel = "tiles", .blocks = {1}, .threads = 2 * kWave}, tiles<fault>, TileArgs{a.data(), b.data(), c.data(), rows, k});
  return c.is([](int i) {
    int sum = 0;
    for (int j = 0; j < k; ++j) sum += value(i / 16 * k + j) * value(i % 16 * k + j + 5);
    return sum;
  });
}

}  // namespace

std::vector<Fault> tile_faults() {
  return {
      {0, "matmul", "", 0, run_matmul<0>},
      {50, "matmul", "the barrier at the end of the double buffer's loop is missing", kEverywhere, run_matmul<50>},
      {51, "matmul", "the edge of a tile is not filled", kEverywhere, run_matmul<51>},
      {52, "matmul", "the tile's edge is filled from the next row", kEverywhere, run_matmul<52>},
      {53, "matmul", "the buffer that is being filled is read", kEverywhere, run_matmul<53>},
      {0, "stream", "", 0, run_stream<0>},
      {54, "stream", "nobody waits for a copy", kEverywhere, run_stream<54>},
      {55, "stream", "the wait leaves one group too many on the way", kEverywhere, run_stream<55>},
      {56, "stream", "copies are not committed", kEverywhere, run_stream<56>},
      {57, "stream", "no barrier between the wait of one thread and the reading of another", kEverywhere, run_stream<57>},
      {58, "stream", "a copy to an address that is no multiple of 16", kEverywhere, run_stream<58>},
      {59, "stream", "a copy into the row that is being read", kEverywhere, run_stream<59>},
      {0, "tiles", "", 0, run_tiles<0>},
      {60, "tiles", "row and column of a tile's element are exchanged", kEverywhere, run_tiles<60>},
      {61, "tiles", "a tile is loaded with the wrong stride", kEverywhere, run_tiles<61>},
      {62, "tiles", "rows of a tile begin at no multiple of 16 bytes", kEverywhere, run_tiles<62>},
      {63, "tiles", "the second half of a tile is multiplied by the first", kEverywhere, run_tiles<63>},
      {64, "tiles", "the sums of a tile do not begin at 0", msan, run_tiles<64>},
      {65, "tiles", "the edge of a tile is not filled", kEverywhere, run_tiles<65>},
      {66, "tiles", "a lane returns before a tile product", kEverywhere, run_tiles<66>},
      {67, "tiles", "the operands of a tile product are exchanged", kEverywhere, run_tiles<67>},
      {68, "tiles", "a wave is taken for 32 lanes", kWave == 64 ? kEverywhere : 0, run_tiles<68>, true},
      {69, "tiles", "the next tile is written while others still multiply", kEverywhere, run_tiles<69>},
  };
}

}  // namespace kerf::KERF_GPU_NS
