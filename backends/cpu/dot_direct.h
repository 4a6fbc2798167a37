// Matmul with float activations and weights of one value per block (f32, f16, bf16), for few tokens: nothing is unpacked into
// memory first. A vector of weights is read once for all T tokens, R rows at a time, with R T sums in registers, so that up
// to about a dozen tokens cost what reading the weights costs. Order of additions as in dot_float.h: lanes over a segment,
// the lanes in V's tree, then the segments.
#pragma once
#include "backends/cpu/dot_float.h"
#include "backends/cpu/dot_strips.h"

namespace kerf::cpu {
inline namespace KERF_ISA {

/// T tokens get the most rows, V::kRows or half of them, whose sums fit in V::kRows * V::kTokens registers.
template <class V, int T>
inline constexpr int kDirectRows = T <= V::kTokens ? V::kRows : V::kRows / 2;
template <class V>
inline constexpr int kPassTokens = 2 * V::kTokens;

/// Totals of n registers, V::kRows at a time.
template <class V, int n>
void all_totals(const typename V::Reg (&sum)[n], float (&out)[n]) {
  for (int i = 0; i < n; i += V::kRows) {
    typename V::Reg part[V::kRows];
    float total[V::kRows];
    for (int j = 0; j < V::kRows; ++j) part[j] = i + j < n ? sum[i + j] : V::zero();
    V::totals(part, total);
    for (int j = 0; j < V::kRows && i + j < n; ++j) out[i + j] = total[j];
  }
}

/// R rows, T tokens, values [begin, end) of one segment.
template <class F, class V, class Decode, int R, int T>
void direct_segment(const typename F::Block* const (&w)[R], const float* const (&x)[T], int64_t begin, int64_t end, RowsAhead ahead,
                    float (&out)[R * T]) {
  constexpr int64_t kStep = V::kLanes;
  typename V::Reg sum[R * T];
  for (auto& s : sum) s = V::zero();
  int64_t k = begin;
  for (; k + kStep <= end; k += kStep) {
    typename V::Reg weight[R];
    for (int r = 0; r < R; ++r) {
      if (k * sizeof(typename F::Block) % 64 < kStep * sizeof(typename F::Block)) prefetch<64>(w[r] + k, ahead);
      weight[r] = Decode::template vector<F>(w[r] + k);
    }
    for (int t = 0; t < T; ++t) {
      const auto token = V::load(x[t] + k);
      for (int r = 0; r < R; ++r) sum[r * T + t] = V::fma(weight[r], token, sum[r * T + t]);
    }
  }
  if (k < end)
    for (int r = 0; r < R; ++r) {
      alignas(64) float rest[V::kLanes] = {};
      for (int64_t i = 0; i < end - k; ++i) rest[i] = F::at(w[r][k + i], 0);
      for (int t = 0; t < T; ++t) sum[r * T + t] = V::fma(V::load(rest), V::load_first(x[t] + k, end - k), sum[r * T + t]);
    }
  all_totals<V, R * T>(sum, out);
}

/// Rows n..n+R-1, tokens t0..t0+T-1 of one segment. Only the first pass over the tokens has to wait for memory.
template <class F, class V, class Decode, int R, int T>
void direct_pass(const MatMulArgs& a, int64_t n, int64_t t0, int64_t begin, int64_t end, bool near) {
  const typename F::Block* w[R];
  for (int r = 0; r < R; ++r) w[r] = reinterpret_cast<const typename F::Block*>(a.w + (n + r) * a.w_bytes);
  const float* x[T];
  for (int t = 0; t < T; ++t) x[t] = reinterpret_cast<const float*>(activations(a, t0 + t));
  float part[R * T];
  direct_segment<F, V, Decode, R, T>(w, x, begin, end, rows_ahead(R * a.w_bytes, near), part);
  for (int t = 0; t < T; ++t)
    for (int r = 0; r < R; ++r) {
      float& y = a.y[(t0 + t) * a.N + n + r];
      y = (begin > 0 ? y : 0) + part[r * T + t];
    }
}

/// f<T>() for the T = `tokens` of a pass.
template <class V, int T = 1, class Fn>
void with_pass(int64_t tokens, Fn&& f) {
  if constexpr (T < kPassTokens<V>)
    if (tokens > T) return with_pass<V, T + 1>(tokens, f);
  f.template operator()<T>();
}

template <class F, class V, class Decode, int T>
void direct_rows(const MatMulArgs& a, int64_t first, int64_t last, int64_t t0, int64_t begin, int64_t end) {
  constexpr int R = kDirectRows<V, T>;
  const bool near = asks_for_streams();  // on a Zen 4, f16 and one token: 31 GB/s on one thread without these requests, 23 with
  int64_t n = first;
  for (; n + R <= last; n += R) direct_pass<F, V, Decode, R, T>(a, n, t0, begin, end, near);
  for (; n < last; ++n) direct_pass<F, V, Decode, 1, T>(a, n, t0, begin, end, near);
}

/// Rows [first, last) for any number of tokens: weights are read as they lie for up to V::kDirectTokens.
template <class F, class V, class Decode>
void float_or_direct_rows(const MatMulArgs& a, int64_t first, int64_t last) {
  if (info(F::dtype).block_values > 1 || a.T > V::kDirectTokens) return float_rows<F, V, Decode>(a, first, last);
  if constexpr (info(F::dtype).block_values == 1) {
    const int64_t passes = (a.T + kPassTokens<V> - 1) / kPassTokens<V>, pass = (a.T + passes - 1) / passes;
    for (int64_t n = first; n < last; n += V::kRows)
      for (int64_t begin = 0; begin < a.K; begin += kFloatSegment)
        for (int64_t t = 0; t < a.T; t += pass)
          with_pass<V>(a.T - t < pass ? a.T - t : pass, [&]<int T>() {
            direct_rows<F, V, Decode, T>(a, n, n + V::kRows < last ? n + V::kRows : last, t, begin,
                                         begin + kFloatSegment < a.K ? begin + kFloatSegment : a.K);
          });
  }
}

template <class V, class Decode>
void run_float_or_direct(const Problem&, const Call& call) {
  quant::Formats::visit(call.in[1].desc.dtype, [&]<class F>(F) { run_rows(call, V::kRows, float_or_direct_rows<F, V, Decode>); });
}

}  // namespace KERF_ISA
}  // namespace kerf::cpu
