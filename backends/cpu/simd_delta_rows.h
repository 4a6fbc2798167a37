// gated_delta_rule with rows of the state in registers: loaded once for 16 tokens, which pass them one after the other. Per
// token a vector of the state takes four operations and no memory access of its own: the product with the key, the decay, the
// update, the product with the query. The decay is multiplied into S k instead of S first, so that the update need not wait for
// a decayed row, and the second sum is not waited for by anyone.
// Keys and queries of the 16 tokens are copied side by side first: in the batch they are some KiB apart, a power of two, and
// 16 pieces of 512 bytes at that distance share the same lines of L1.
// Decoding is the speed of memory: a state of 64 KiB goes in and out in 3.2 us, 40 GB/s (Zen 4, one thread, states not in L2).
// A token's arithmetic does not depend on the tokens beside it: a batch gives the bits of its tokens one by one.
#pragma once
#include "backends/cpu/delta_rule.h"
#include "backends/cpu/simd_batch.h"
#include "backends/cpu/simd_loop.h"
#include "backends/cpu/unrolled.h"

namespace kerf::cpu {
inline namespace KERF_ISA {

/// Tokens that rows stay in registers for.
constexpr int64_t kStretch = 16;
/// Rows of one task: so many share the copied keys and queries.
constexpr int64_t kTaskRows = 32;

/// Tokens t .. t + n of one head, rows padded with zeros to `width`.
struct DeltaStretch {
  int64_t t, n, width;
  float decay[kStretch], rate[kStretch];
  alignas(64) float k[kStretch * kMostKeys], q[kStretch * kMostKeys];
};

inline void copy_padded(const float* from, int64_t n, float* to, int64_t width) {
  std::memcpy(to, from, static_cast<size_t>(n) * sizeof(float));
  std::memset(to + n, 0, static_cast<size_t>(width - n) * sizeof(float));
}

template <class B>
void fill(DeltaStretch& s, const DeltaRule& d, int64_t h) {
  const int64_t column = d.key_column(h);
  for (int64_t i = 0; i < s.n; ++i) {
    s.decay[i] = d.g.row<float>(s.t + i)[h];
    s.rate[i] = d.b.row<float>(s.t + i)[h];
    copy_padded(d.k.row<float>(s.t + i) + column, d.dk, s.k + i * s.width, s.width);
    copy_padded(d.q.row<float>(s.t + i) + column, d.dk, s.q + i * s.width, s.width);
  }
  map<B>(
      s.decay, s.n, [](const B& g) { return xsimd::exp(g); }, s.decay);
}

/// R rows of V vectors each, from row `first` of the state on (of all heads').
template <class B, int R, int V>
void walk_rows(const DeltaStretch& s, const DeltaRule& d, int64_t first) {
  constexpr int64_t w = kLanes<B>;
  const bool whole = d.dk == V * w;
  alignas(64) float padded[R][V * w];  // of rows that do not fill their vectors
  float* row[R];
  for (int r = 0; r < R; ++r) {
    row[r] = whole ? d.state.row<float>(first + r) : padded[r];
    if (!whole) copy_padded(d.state.row<float>(first + r), d.dk, padded[r], V * w);
  }
  B S[R][V];
  unrolled<R>([&]<int r>() __attribute__((always_inline)) {
    unrolled<V>([&]<int i>() __attribute__((always_inline)) { S[r][i] = B::load_unaligned(row[r] + i * w); });
  });
  B answer[R][kStretch];  // whose lanes are still to be added up
  for (int64_t t = 0; t < s.n; ++t) {
    const float *k = s.k + t * s.width, *q = s.q + t * s.width, *v = d.v.row<float>(s.t + t) + first;
    const B decay(s.decay[t]), rate(s.rate[t]);
    unrolled<R>([&]<int r>() __attribute__((always_inline)) {
      B held[2] = {B(0.f), B(0.f)}, out[2] = {B(0.f), B(0.f)};  // two chains each: an fma takes four cycles
      unrolled<V>([&]<int i>()
                      __attribute__((always_inline)) { held[i % 2] = Instructions<B>::fma(S[r][i], B::load_aligned(k + i * w), held[i % 2]); });
      const B change = rate * (B(v[r]) - decay * Instructions<B>::sum(held[0] + held[1]));
      unrolled<V>([&]<int i>() __attribute__((always_inline)) {
        S[r][i] = Instructions<B>::fma(change, B::load_aligned(k + i * w), S[r][i] * decay);
        out[i % 2] = Instructions<B>::fma(S[r][i], B::load_aligned(q + i * w), out[i % 2]);
      });
      answer[r][t] = out[0] + out[1];
    });
  }
  unrolled<R>([&]<int r>() __attribute__((always_inline)) {
    unrolled<V>([&]<int i>() __attribute__((always_inline)) { S[r][i].store_unaligned(row[r] + i * w); });
    if (!whole) std::memcpy(d.state.row<float>(first + r), padded[r], static_cast<size_t>(d.dk) * sizeof(float));
  });
  const B scale(d.scale);
  for (int r = 0; r < R; ++r) {
    alignas(64) float sums[kStretch];
    int64_t t = 0;
    for (; t + w <= s.n; t += w) (scale * Instructions<B>::sums(answer[r] + t)).store_aligned(sums + t);
    for (; t < s.n; ++t) sums[t] = d.scale * Instructions<B>::sum(answer[r][t]).get(0);
    for (t = 0; t < s.n; ++t) d.out.row<float>(s.t + t)[first + r] = sums[t];
  }
}

template <class B, int V>
void delta_rows_of(const DeltaRule& d, ThreadPool& pool) {
  constexpr int R = V >= 16 ? 1 : V >= 8 ? 2 : 4;
  const int64_t blocks = (d.dv + kTaskRows - 1) / kTaskRows;
  for_each_rows(pool, d.H * blocks, kTaskRows * d.dk * d.T, [&](int64_t begin, int64_t end) {
    for (int64_t task = begin; task < end; ++task) {
      const int64_t h = task / blocks, i0 = task % blocks * kTaskRows, rows = d.dv - i0 < kTaskRows ? d.dv - i0 : kTaskRows;
      d.first_row(h, i0, rows);
      DeltaStretch s;
      s.width = V * kLanes<B>;
      for (s.t = 0; s.t < d.T; s.t += kStretch) {
        s.n = d.T - s.t < kStretch ? d.T - s.t : kStretch;
        fill<B>(s, d, h);
        int64_t i = 0;
        for (; i + R <= rows; i += R) walk_rows<B, R, V>(s, d, h * d.dv + i0 + i);
        for (; i < rows; ++i) walk_rows<B, 1, V>(s, d, h * d.dv + i0 + i);
      }
    }
  });
}

template <class B>
void delta_rows(const Problem& p, const Call& call) {
  const DeltaRule d(p, call);
  const int64_t vectors = (d.dk + kLanes<B> - 1) / kLanes<B>;
  if (vectors <= 1) return delta_rows_of<B, 1>(d, call.pool);
  if (vectors <= 2) return delta_rows_of<B, 2>(d, call.pool);
  if (vectors <= 4) return delta_rows_of<B, 4>(d, call.pool);
  if (vectors <= 8) return delta_rows_of<B, 8>(d, call.pool);
  if (vectors <= 16) return delta_rows_of<B, 16>(d, call.pool);
  if constexpr (kMostKeys / kLanes < B >> 16) delta_rows_of<B, 32>(d, call.pool);
}

}  // namespace KERF_ISA
}  // namespace kerf::cpu
