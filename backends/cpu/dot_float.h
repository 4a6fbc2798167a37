// Matmul with float activations for weights of any format: a segment of V::kRows rows is decoded to f32 on the stack (L1),
// then multiplied with the tokens, V::kTokens at a time in registers. Decoding and multiplying alternate, so only
// prefetching can overlap memory with arithmetic: while a segment is decoded, the one that comes next is asked for.
// `V` is the vector type, `Decode` turns blocks into floats.
#pragma once
#include "backends/cpu/matmul.h"
#include "quant/formats.h"

namespace kerf::cpu {
inline namespace KERF_ISA {

/// Shares of the rows x tokens outputs: each is summed in the lanes of one register, then by V::total.
template <class V, int T>
void float_tile(const float (*w)[kSegment], const float* x, int64_t x_step, int64_t n, float (&out)[V::kRows][T]) {
  typename V::Reg acc[V::kRows][T];
  for (auto& row : acc)
    for (auto& a : row) a = V::zero();
  int64_t k = 0;
  for (; k + V::kLanes <= n; k += V::kLanes) {
    typename V::Reg token[T];
    for (int t = 0; t < T; ++t) token[t] = V::load(x + t * x_step + k);
    for (int r = 0; r < V::kRows; ++r) {
      const auto weight = V::load(w[r] + k);
      for (int t = 0; t < T; ++t) acc[r][t] = V::fma(weight, token[t], acc[r][t]);
    }
  }
  if (k < n)
    for (int r = 0; r < V::kRows; ++r)
      for (int t = 0; t < T; ++t) acc[r][t] = V::fma(V::load_first(w[r] + k, n - k), V::load_first(x + t * x_step + k, n - k), acc[r][t]);
  for (int r = 0; r < V::kRows; ++r)
    for (int t = 0; t < T; ++t) out[r][t] = V::total(acc[r][t]);
}

template <class V, int T>
void float_tokens(const MatMulArgs& a, const float (*w)[kSegment], int64_t n0, int64_t begin, int64_t n, int64_t t0) {
  float out[V::kRows][T];
  float_tile<V, T>(w, reinterpret_cast<const float*>(a.x) + t0 * a.K + begin, a.K, n, out);
  for (int r = 0; r < V::kRows && n0 + r < a.N; ++r)
    for (int t = 0; t < T; ++t) {
      float& y = a.y[(t0 + t) * a.N + n0 + r];
      y = (begin > 0 ? y : 0) + out[r][t];
    }
}

template <class F, class V, class Decode>
void float_rows(const MatMulArgs& a, int64_t first, int64_t last) {
  alignas(64) float w[V::kRows][kSegment];
  for (int64_t n0 = first; n0 < last; n0 += V::kRows)
    for (int64_t begin = 0; begin < a.K; begin += kSegment) {
      const int64_t n = a.K - begin < kSegment ? a.K - begin : kSegment, skip = row_bytes(F::dtype, begin);
      for (int r = 0; r < V::kRows; ++r) {
        const std::byte* row = a.w + (n0 + r < a.N ? n0 + r : a.N - 1) * a.w_bytes;
        const int64_t ahead = begin + kSegment < a.K ? row_bytes(F::dtype, kSegment) : V::kRows * a.w_bytes - skip;
        Decode::template values<F>(reinterpret_cast<const typename F::Block*>(row + skip), n, ahead, w[r]);
      }
      int64_t t = 0;
      for (; t + V::kTokens <= a.T; t += V::kTokens) float_tokens<V, V::kTokens>(a, w, n0, begin, n, t);
      for (; t < a.T; ++t) float_tokens<V, 1>(a, w, n0, begin, n, t);
    }
}

/// Runs the instance for the weights' format.
template <class V, class Decode>
void run_float(const Problem& p, const Call& call) {
  quant::Formats::visit(call.in[1].desc.dtype, [&]<class F>(F) { run_rows(p, call, V::kRows, float_rows<F, V, Decode>); });
}

}  // namespace KERF_ISA
}  // namespace kerf::cpu
