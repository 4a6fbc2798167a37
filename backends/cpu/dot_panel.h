// Matmul with float activations for many tokens: the lanes are rows. A segment of 64 rows is transposed into a panel once for
// all tokens; a tile then holds the sums of 64 rows and 6 tokens (or 32 and 12) in 24 registers, and an activation is
// multiplied with all rows as a broadcast. Nothing is summed across lanes and y is written in whole vectors, which take a
// quarter of the time of dot_float.h's tiles of 8 rows and 3 tokens: 89 GFLOP/s from L1 where 117 is the peak, 109 this way.
//
// The order of additions is dot_float.h's all the same, so the number of tokens does not show in the bits: values of a segment
// that share a lane there (k = lane, lane + 16, ..) are summed one after the other, a lane at a time, and the lanes' sums
// are added in the tree of Avx512::totals: lanes 8 apart, then 4, 2 and 1. Lanes in the order of their reversed bits
// complete that tree from the left, so at most one sum of each level waits for its partner. The tree costs 7 % of the speed.
#pragma once
#include <utility>

#include "backends/cpu/dot_float.h"
#include "backends/cpu/transpose.h"

namespace kerf::cpu {
inline namespace KERF_ISA {

inline constexpr int kPanelLanes = 16, kPanelSums = 24;

/// A segment of 16 * Vectors rows, [leaf of the tree][step: value 16 step + lane of leaf][row]. It lies in L2 (132 KB) and is
/// read from front to end by each tile. One step more than a segment has, or the 16 stores of a transposition would compete
/// for one set of the cache.
template <int Vectors>
struct FloatPanel {
  static constexpr int kRows = Vectors * 16;
  alignas(64) float w[kPanelLanes][kFloatSegment / kPanelLanes + 1][kRows];
};

/// f(i) for i < n, without a loop: an array indexed by constants only stays in registers.
template <int n, class Fn>
[[gnu::always_inline]] inline void each(Fn f) {
  [&]<int... i>(std::integer_sequence<int, i...>) __attribute__((always_inline)) { (f(i), ...); }
  (std::make_integer_sequence<int, n>());
}

/// The leaf of a lane, the lane of a leaf: four bits reversed.
constexpr int leaf_of(int lane) { return (lane & 1) << 3 | (lane & 2) << 1 | (lane & 4) >> 1 | lane >> 3; }

/// Sixteen values of sixteen rows, load(r) of row r, as step `step` of all lanes. Flat: a call of transpose16 would take v, and
/// half the speed, by way of memory. What remains, 79 cycles, is the time of 16 lines' way from L2 and back.
template <int Vectors, class Load>
[[gnu::flatten]] void put_columns(FloatPanel<Vectors>& panel, int64_t step, int vector, Load load) {
  __m512 v[16];
  each<16>([&](int r) { v[r] = load(r); });
  transpose16(v);
  each<16>([&](int lane) { _mm512_store_ps(panel.w[leaf_of(lane)][step] + 16 * vector, v[lane]); });
}

/// Values [begin, begin + n) of sixteen rows from n0 on; what is missing of the last sixteen is zero. Those `ahead` bytes on are
/// asked for, which hides most of the time that reading them takes.
template <class F, class Decode, int Vectors>
void put_rows(const MatMulArgs& a, FloatPanel<Vectors>& panel, int vector, int64_t n0, int64_t begin, int64_t n, int64_t ahead) {
  using Block = typename F::Block;
  constexpr int64_t kValues = kStrip, kPitch = kValues + 16;  // 17 KB of L1
  const Block* row[16];
  for (int r = 0; r < 16; ++r) row[r] = reinterpret_cast<const Block*>(a.w + (n0 + 16 * vector + r) * a.w_bytes + row_bytes(F::dtype, begin));
  int64_t k = 0;
  if constexpr (info(F::dtype).block_values == 1)
    for (; k + 16 <= n; k += 16) {
      if (k * sizeof(Block) % 64 == 0) each<16>([&](int r) { __builtin_prefetch(reinterpret_cast<const char*>(row[r] + k) + ahead, 0, 2); });
      put_columns(panel, k / 16, vector, [&](int r) { return Decode::template vector<F>(row[r] + k); });
    }
  for (; k < n; k += kValues) {
    alignas(64) float values[16][kPitch];
    const int64_t part = n - k < kValues ? n - k : kValues;
    for (int r = 0; r < 16; ++r) {
      for (int64_t i = part; i % 16; ++i) values[r][i] = 0;
      Decode::template values<F>(row[r] + k / info(F::dtype).block_values, part, ahead, values[r]);
    }
    for (int64_t i = 0; i < part; i += 16) put_columns(panel, (k + i) / 16, vector, [&](int r) { return _mm512_load_ps(values[r] + i); });
  }
}

/// sum[t, v] += products of one step.
template <int Vectors, int T, class X>
[[gnu::always_inline]] inline void add_step(const float* w, X x, __m512 (&sum)[T * Vectors]) {
  __m512 weight[Vectors];
  for (int v = 0; v < Vectors; ++v) weight[v] = _mm512_load_ps(w + 16 * v);
  for (int t = 0; t < T; ++t) {
    const __m512 token = _mm512_set1_ps(x(t));
    for (int v = 0; v < Vectors; ++v) sum[t * Vectors + v] = _mm512_fmadd_ps(weight[v], token, sum[t * Vectors + v]);
  }
}

/// Products of the panel's rows with n values of T tokens, added to what is in y or to 0. `next`: the tokens of the next tile,
/// asked for meanwhile, as many tokens are not in L2: 98 GFLOP/s for 192 tokens of 8960 values, 94 without.
template <int Vectors, int T>
void panel_tile(const FloatPanel<Vectors>& panel, const float* const (&x)[T], int64_t n, bool adds, float* y, int64_t pitch,
                const float* const (&next)[T]) {
  float rest[T][16] = {};
  for (int t = 0; t < T; ++t)
    for (int64_t i = 0; i < n % 16; ++i) rest[t][i] = x[t][n / 16 * 16 + i];
  __m512 sum[T * Vectors], waiting[5][T * Vectors];
  for (int leaf = 0; leaf < kPanelLanes; ++leaf) {
    const int lane = leaf_of(leaf);
    each<T>([&](int t) { __builtin_prefetch(next[t] + 32 * leaf, 0, 2), __builtin_prefetch(next[t] + 32 * leaf + 16, 0, 2); });
    each<T * Vectors>([&](int i) { sum[i] = _mm512_setzero_ps(); });
    int64_t step = 0;
    for (; step < n / 16; ++step)
      add_step<Vectors, T>(
          panel.w[leaf][step], [&](int t) { return x[t][16 * step + lane]; }, sum);
    if (n % 16)
      add_step<Vectors, T>(
          panel.w[leaf][step], [&](int t) { return rest[t][lane]; }, sum);
    int level = 0;
    for (; leaf >> level & 1; ++level) each<T * Vectors>([&](int i) { sum[i] = _mm512_add_ps(waiting[level][i], sum[i]); });
    each<T * Vectors>([&](int i) { waiting[level][i] = sum[i]; });
  }
  each<T * Vectors>([&](int i) {
    float* p = y + i / Vectors * pitch + 16 * (i % Vectors);
    _mm512_storeu_ps(p, _mm512_add_ps(adds ? _mm512_loadu_ps(p) : _mm512_setzero_ps(), waiting[4][i]));
  });
}

/// The panel's rows, which begin at n0, and tokens [t0, t0 + T), one segment.
template <int Vectors, int T>
void panel_tokens(const MatMulArgs& a, const FloatPanel<Vectors>& panel, int64_t n0, int64_t begin, int64_t n, int64_t t0) {
  const float *x[T], *next[T];
  for (int t = 0; t < T; ++t) {
    x[t] = reinterpret_cast<const float*>(activations(a, t0 + t)) + begin;
    next[t] = reinterpret_cast<const float*>(activations(a, t0 + T + t < a.T ? t0 + T + t : t)) + begin;
  }
  panel_tile<Vectors, T>(panel, x, n, begin > 0, a.y + t0 * a.N + n0, a.N, next);
}

/// f<T>() for T = `tokens`, at most Most.
template <int Most, class Fn>
void with_tokens(int64_t tokens, Fn&& f) {
  if constexpr (Most > 1)
    if (tokens < Most) return with_tokens<Most - 1>(tokens, f);
  f.template operator()<Most>();
}

/// Panels of 16 * Vectors rows, as many as are in [first, last), for all tokens; the row after them. Tokens are divided evenly
/// among tiles.
template <class F, class Decode, int Vectors>
int64_t panel_rows(const MatMulArgs& a, int64_t first, int64_t last) {
  constexpr int kTokens = kPanelSums / Vectors, kRows = FloatPanel<Vectors>::kRows;
  const int64_t tiles = (a.T + kTokens - 1) / kTokens;
  int64_t n0 = first;
  for (; n0 + kRows <= last; n0 += kRows)
    for (int64_t begin = 0; begin < a.K; begin += kFloatSegment) {
      const int64_t n = a.K - begin < kFloatSegment ? a.K - begin : kFloatSegment;
      // The next sixteen rows; for the last sixteen the first of the next panel.
      const int64_t rows16 = 16 * a.w_bytes, to_segment = row_bytes(F::dtype, kFloatSegment) - (kRows - 16) * a.w_bytes;
      const int64_t to_panel = begin + kFloatSegment < a.K ? to_segment : rows16 - row_bytes(F::dtype, begin);
      FloatPanel<Vectors> panel;
      for (int v = 0; v < Vectors; ++v) put_rows<F, Decode>(a, panel, v, n0, begin, n, v + 1 < Vectors ? rows16 : to_panel);
      for (int64_t tile = 0; tile < tiles; ++tile) {
        const int64_t t0 = tile * a.T / tiles, t1 = (tile + 1) * a.T / tiles;
        with_tokens<kTokens>(t1 - t0, [&]<int T>() { panel_tokens<Vectors, T>(a, panel, n0, begin, n, t0); });
      }
    }
  return n0;
}

}  // namespace KERF_ISA
}  // namespace kerf::cpu
