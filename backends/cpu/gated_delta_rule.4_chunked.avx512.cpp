// gated_delta_rule, rung 4: 16 tokens at a time as small matrix products (the WY form of Yang, Wang, Zhang, Shen, Kim 2024,
// with the decays of Yang, Kautz, Hatamizadeh 2024, 3.3). Token by token, every product with a row is a sum that ends in a
// horizontal reduction, and the next token waits for it. In a chunk the state is read once for all keys and queries, what its
// tokens do to each other is a triangular system of 16 unknowns, and the state is changed once:
//
//   D[t][s] = decay from token s to token t,  A = below the diagonal of rate[t] D[t][s] k[t].k[s],  P = scale D[t][s] q[t].k[s]
//   (I + A) X = rate[t] (v[t] - D[t][start] S k[t]),  out = scale D[t][start] S q + P X,  S <- D[end][start] S + (D[end][t] X)^T k
//
// D is made of products of decays, row by row, not of exponentials of differences of their logarithms: nothing overflows and
// has to be clamped, small decays beside large ones keep their digits, and a chunk takes 16 exponentials instead of 256.
// 16 tokens are a register of f32. Longer chunks would add arithmetic (the terms between tokens grow with the length: 8 % of
// the products with the state here, 33 % with 64 tokens) and save only loads that are not the limit.
// Measured (Zen 4, one thread, 32 heads, keys and values of 128; us per token and head): 1.04 with 16 tokens, 1.13 with 512,
// where 3_rows takes 2.0 and 2.2 and 1_plain 25. The three products with a state take 0.85 of them at one fma of 16 lanes per cycle.
// It costs memory for keys, queries and A, P of 128 tokens, rounding in another order than a token alone has, and a short
// chunk takes as long as a whole one.
#include "backends/cpu/batch_avx512.h"
#include "backends/cpu/delta_chunk.h"
#include "backends/cpu/delta_rule.h"
#include "core/threadpool.h"

namespace kerf::cpu {
inline namespace KERF_ISA {
namespace {

/// Where what is prepared of a chunk lies in the scratch memory.
struct Prepared {
  float* base;
  const DeltaRule& d;
  static constexpr int64_t kPairs = kChunk * kChunk;

  /// By head of keys: columns of k and q [dk][16], rows of k [16][dk].
  float* keys(int64_t chunk, int64_t head) const { return base + (chunk * d.Hk + head) * 3 * kChunk * d.dk; }
  /// By head of values: A, P [16][16], then for each token its rate, D[t][start] and D[end][t].
  float* pairs(int64_t chunk, int64_t head) const {
    return base + kDeltaSegment / kChunk * d.Hk * 3 * kChunk * d.dk + (chunk * d.H + head) * kDeltaPairFloats;
  }
};
static_assert(kDeltaPairFloats == 2 * Prepared::kPairs + 3 * kChunk);

/// A, P and the decays of tokens t0 .. t0 + n of head h. Tokens that are not there neither decay nor take anything.
void weigh_pairs(const DeltaRule& d, int64_t h, int64_t t0, int64_t n, const __m512 (&kk)[16], const __m512 (&qk)[16], float* to) {
  float *A = to, *P = A + Prepared::kPairs, *rate = P + Prepared::kPairs, *since = rate + kChunk, *until = since + kChunk;
  alignas(64) float decay[kChunk] = {};
  for (int64_t t = 0; t < kChunk; ++t) {
    if (t < n) decay[t] = d.g.row<float>(t0 + t)[h];
    rate[t] = t < n ? d.b.row<float>(t0 + t)[h] : 0;
  }
  xsimd::exp(BatchAvx512::load_aligned(decay)).store_aligned(decay);
  __m512 D = _mm512_setzero_ps();
  float start = 1;
  for (int t = 0; t < kChunk; ++t) {
    const auto before = static_cast<__mmask16>((1u << t) - 1), at = static_cast<__mmask16>(1u << t);
    D = _mm512_mask_mov_ps(_mm512_mul_ps(D, _mm512_set1_ps(decay[t])), at, _mm512_set1_ps(1));
    since[t] = start *= decay[t];
    _mm512_storeu_ps(A + t * kChunk, _mm512_maskz_mul_ps(before, _mm512_mul_ps(D, kk[t]), _mm512_set1_ps(rate[t])));
    _mm512_storeu_ps(P + t * kChunk, _mm512_maskz_mul_ps(before | at, _mm512_mul_ps(D, qk[t]), _mm512_set1_ps(d.scale)));
  }
  _mm512_storeu_ps(until, D);
}

/// What all rows of the heads of values that read this head of keys have in common.
void prepare(const DeltaRule& d, const Prepared& prepared, int64_t first, int64_t chunk, int64_t head) {
  const int64_t t0 = first + chunk * kChunk, n = d.T - t0 < kChunk ? d.T - t0 : kChunk, dk = d.dk;
  float *k = prepared.keys(chunk, head), *q = k + kChunk * dk, *rows = q + kChunk * dk;
  const float *from_k = d.k.row<float>(t0) + head * dk, *from_q = d.q.row<float>(t0) + head * dk;
  to_columns(from_k, d.k.desc.cols(), n, dk, k);
  to_columns(from_q, d.q.desc.cols(), n, dk, q);
  for (int64_t t = 0; t < n; ++t) std::memcpy(rows + t * dk, from_k + t * d.k.desc.cols(), static_cast<size_t>(dk) * sizeof(float));
  std::memset(rows + n * dk, 0, static_cast<size_t>((kChunk - n) * dk) * sizeof(float));
  __m512 kk[16], qk[16];
  gram(k, k, dk, kk);
  gram(q, k, dk, qk);
  for (int64_t i = 0; i < d.H / d.Hk; ++i) {
    const int64_t h = d.tiled ? head + i * d.Hk : head * (d.H / d.Hk) + i;
    weigh_pairs(d, h, t0, n, kk, qk, prepared.pairs(chunk, h));
  }
}

/// Sixteen rows of head h's state, from row i on, through one chunk.
void pass_chunk(const DeltaRule& d, int64_t h, int64_t i, float* S, int64_t t0, const float* keys, const float* pairs) {
  const int64_t n = d.T - t0 < kChunk ? d.T - t0 : kChunk, dk = d.dk, column = h * d.dv + i;
  const float *k = keys, *q = k + kChunk * dk, *rows = q + kChunk * dk;
  const float *A = pairs, *P = A + Prepared::kPairs, *rate = P + Prepared::kPairs, *since = rate + kChunk, *until = since + kChunk;
  for (int64_t t = 0; t < n; ++t) {  // a line of each row, some KiB apart: no stream that a prefetcher sees
    __builtin_prefetch(d.v.row<float>(t0 + t) + column, 0);
    __builtin_prefetch(d.out.row<float>(t0 + t) + column, 1);
  }
  alignas(64) float Sk[kChunk * 16], Sq[kChunk * 16];
  for (int64_t r = 0; r < 16; r += 8) read_rows(S + r * dk, dk, k, q, Sk + 16 * r, Sq + 16 * r);
  __m512 x[16];
  for (int t = 0; t < 16; ++t) x[t] = _mm512_load_ps(Sq + 16 * t);
  transpose16(x);
  for (int t = 0; t < 16; ++t) _mm512_store_ps(Sq + 16 * t, _mm512_mul_ps(x[t], _mm512_set1_ps(d.scale * since[t])));
  for (int t = 0; t < 16; ++t) x[t] = _mm512_load_ps(Sk + 16 * t);
  transpose16(x);
  for (int64_t t = 0; t < 16; ++t) {
    const __m512 v = t < n ? _mm512_loadu_ps(d.v.row<float>(t0 + t) + column) : _mm512_setzero_ps();
    x[t] = _mm512_mul_ps(_mm512_set1_ps(rate[t]), _mm512_fnmadd_ps(_mm512_set1_ps(since[t]), x[t], v));
  }
  solve(A, x);
  weighted(P, x, [&](int64_t t, __m512 sum) {
    if (t < n) _mm512_storeu_ps(d.out.row<float>(t0 + t) + column, _mm512_add_ps(sum, _mm512_load_ps(Sq + 16 * t)));
  });
  for (int t = 0; t < 16; ++t) _mm512_store_ps(Sk + 16 * t, _mm512_mul_ps(_mm512_set1_ps(until[t]), x[t]));
  change_rows(S, dk, since[kChunk - 1], Sk, rows);
}

void run(const Problem& p, const Call& call) {
  const DeltaRule d(p, call);
  const Prepared prepared{reinterpret_cast<float*>(call.scratch.data()), d};
  const int64_t blocks = d.dv / 16;
  for (int64_t first = 0; first < d.T; first += kDeltaSegment) {
    const int64_t tokens = d.T - first < kDeltaSegment ? d.T - first : kDeltaSegment, chunks = (tokens + kChunk - 1) / kChunk;
    call.pool.parallel_for(chunks * d.Hk, [&](int64_t i) { prepare(d, prepared, first, i / d.Hk, i % d.Hk); });
    call.pool.parallel_for(d.H * blocks, [&](int64_t task) {
      const int64_t h = task / blocks, i = task % blocks * 16;
      float* S = first == 0 ? d.first_row(h, i, 16) : d.state.row<float>(h * d.dv + i);
      for (int64_t c = 0; c < chunks; ++c) pass_chunk(d, h, i, S, first + c * kChunk, prepared.keys(c, d.key_column(h) / d.dk), prepared.pairs(c, h));
    });
  }
}

}  // namespace
}  // namespace KERF_ISA

void gated_delta_rule_4_chunked_avx512(Registry::Adder r);
void gated_delta_rule_4_chunked_avx512(Registry::Adder r) {
  add_rung(r, {.op = GatedDeltaRule::name,
               .variant = "4_chunked_avx512",
               .improves = "3_rows_avx512",
               .note = "16 tokens at a time as products of small matrices, without a sum over lanes for each token and row",
               .preference = 4,
               .isa = Isa::avx512,
               .accepts = accepts_delta_chunks,
               .run = run,
               .scratch_bytes = delta_chunk_scratch});
}

}  // namespace kerf::cpu
