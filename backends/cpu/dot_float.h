// Matmul with float activations for weights of any format: a segment of V::kRows rows is decoded to f32 on the stack (L1),
// then multiplied with the tokens, V::kTokens at a time in registers. Decoding and multiplying alternate, so only
// prefetching can overlap memory with arithmetic: while a segment is decoded, the one that comes next is asked for.
// `V` is the vector type (totals: the sums of the lanes of kRows registers), `Decode` turns blocks into floats.
#pragma once
#include "backends/cpu/matmul.h"
#include "quant/formats.h"

namespace kerf::cpu {
inline namespace KERF_ISA {

// Eight rows of a float segment (16 KB) and three tokens' part of it fit in an L1 cache with room to spare. The rows are
// not a power of two apart, or the same column of all of them would compete for one set of the cache.
inline constexpr int64_t kFloatSegment = 512, kFloatPitch = kFloatSegment + 16;

/// Shares of the tokens x rows outputs: each is summed in the lanes of one register, then by V::totals.
template <class V, int T>
void float_tile(const float (*w)[kFloatPitch], const float* const (&x)[T], int64_t n, float (&out)[T][V::kRows]) {
  typename V::Reg acc[T][V::kRows];
  for (auto& token : acc)
    for (auto& a : token) a = V::zero();
  int64_t k = 0;
  for (; k + V::kLanes <= n; k += V::kLanes) {
    typename V::Reg token[T];
    for (int t = 0; t < T; ++t) token[t] = V::load(x[t] + k);
    for (int r = 0; r < V::kRows; ++r) {
      const auto weight = V::load(w[r] + k);
      for (int t = 0; t < T; ++t) acc[t][r] = V::fma(weight, token[t], acc[t][r]);
    }
  }
  if (k < n)
    for (int r = 0; r < V::kRows; ++r)
      for (int t = 0; t < T; ++t) acc[t][r] = V::fma(V::load_first(w[r] + k, n - k), V::load_first(x[t] + k, n - k), acc[t][r]);
  for (int t = 0; t < T; ++t) V::totals(acc[t], out[t]);
}

/// A range of the problem: V::kRows rows from n0, one segment, tokens [t0, t1).
struct FloatPart {
  int64_t n0, begin, n, t0, t1;
};

template <class V, int T>
void float_tokens(const MatMulArgs& a, const FloatPart& p, const float (*w)[kFloatPitch], int64_t t0) {
  float out[T][V::kRows];
  const float* x[T];
  for (int t = 0; t < T; ++t) x[t] = reinterpret_cast<const float*>(activations(a, t0 + t)) + p.begin;
  float_tile<V, T>(w, x, p.n, out);
  const int64_t rows = a.N - p.n0 < V::kRows ? a.N - p.n0 : V::kRows;
  for (int t = 0; t < T; ++t) {
    float* y = a.y + (t0 + t) * a.N + p.n0;
    for (int64_t r = 0; r < rows; ++r) y[r] = (p.begin > 0 ? y[r] : 0) + out[t][r];
  }
}

template <class F, class V, class Decode>
void float_part(const MatMulArgs& a, const FloatPart& p, float (*w)[kFloatPitch], int64_t ahead) {
  for (int r = 0; r < V::kRows; ++r) {
    const std::byte* row = a.w + (p.n0 + r < a.N ? p.n0 + r : a.N - 1) * a.w_bytes + row_bytes(F::dtype, p.begin);
    Decode::template values<F>(reinterpret_cast<const typename F::Block*>(row), p.n, ahead, w[r]);
  }
  int64_t t = p.t0;
  for (; t + V::kTokens <= p.t1; t += V::kTokens) float_tokens<V, V::kTokens>(a, p, w, t);
  for (; t < p.t1; ++t) float_tokens<V, 1>(a, p, w, t);
}

/// Few tokens: along the rows, as the weights lie in memory. Many: all rows of the range for one segment of a block of
/// tokens, which then stays in L2 (256 tokens x 2 KB).
inline constexpr int64_t kFloatBlockTokens = 256;

template <class F, class V, class Decode>
void float_rows(const MatMulArgs& a, int64_t first, int64_t last) {
  alignas(64) float w[V::kRows][kFloatPitch];
  const auto values = [&](int64_t begin) { return a.K - begin < kFloatSegment ? a.K - begin : kFloatSegment; };
  const int64_t row_step = V::kRows * a.w_bytes;
  if (a.T < kPanelTokens) {
    for (int64_t n0 = first; n0 < last; n0 += V::kRows)
      for (int64_t begin = 0; begin < a.K; begin += kFloatSegment) {
        const bool ends = begin + kFloatSegment >= a.K;
        const int64_t ahead = ends ? row_step - row_bytes(F::dtype, begin) : row_bytes(F::dtype, kFloatSegment);
        float_part<F, V, Decode>(a, {n0, begin, values(begin), 0, a.T}, w, ahead);
      }
    return;
  }
  for (int64_t t = 0; t < a.T; t += kFloatBlockTokens)
    for (int64_t begin = 0; begin < a.K; begin += kFloatSegment)
      for (int64_t n0 = first; n0 < last; n0 += V::kRows)
        float_part<F, V, Decode>(a, {n0, begin, values(begin), t, t + kFloatBlockTokens < a.T ? t + kFloatBlockTokens : a.T}, w, row_step);
}

/// Runs the instance for the weights' format.
template <class V, class Decode>
void run_float(const Problem&, const Call& call) {
  quant::Formats::visit(call.in[1].desc.dtype, [&]<class F>(F) { run_rows(call, V::kRows, float_rows<F, V, Decode>); });
}

}  // namespace KERF_ISA
}  // namespace kerf::cpu
