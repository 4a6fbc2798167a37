// The pieces of gated_delta_rule.4_chunked: small matrices of 16 tokens in AVX-512, each 16 rows of 16 floats or a multiple.
// [a][b] below is an array of a rows of b floats; j counts keys, t and s tokens, i values.
#pragma once
#include "backends/cpu/transpose.h"
#include "backends/cpu/unrolled.h"

namespace kerf::cpu {
inline namespace KERF_ISA {

/// Tokens of a chunk: the lanes of a register.
constexpr int kChunk = 16;

/// x [n tokens][dk], rows `stride` floats apart -> columns [dk][16], zeros for tokens that are not there.
inline void to_columns(const float* x, int64_t stride, int64_t n, int64_t dk, float* columns) {
  for (int64_t j = 0; j < dk; j += 16) {
    __m512 r[16];
    for (int64_t t = 0; t < 16; ++t) r[t] = t < n ? _mm512_loadu_ps(x + t * stride + j) : _mm512_setzero_ps();
    transpose16(r);
    for (int64_t c = 0; c < 16; ++c) _mm512_storeu_ps(columns + (j + c) * 16, r[c]);
  }
}

/// x [dk][16], y [dk][16] -> out [16][16]: out[t][s] = sum over j of x[j][t] y[j][s].
inline void gram(const float* x, const float* y, int64_t dk, __m512 (&out)[16]) {
  for (__m512& o : out) o = _mm512_setzero_ps();
  for (int64_t j = 0; j < dk; ++j) {
    const __m512 v = _mm512_loadu_ps(y + 16 * j);
    unrolled<16>([&]<int t>() __attribute__((always_inline)) { out[t] = _mm512_fmadd_ps(_mm512_set1_ps(x[16 * j + t]), v, out[t]); });
  }
}

/// What rows S [8][dk] hold under the keys and the queries of a chunk: S k and S q, [8][16] each, one register per row.
inline void read_rows(const float* S, int64_t dk, const float* k, const float* q, float* Sk, float* Sq) {
  __m512 a[8], b[8];
  unrolled<8>([&]<int i>() __attribute__((always_inline)) { a[i] = b[i] = _mm512_setzero_ps(); });
  for (int64_t j = 0; j < dk; ++j) {
    const __m512 kj = _mm512_loadu_ps(k + 16 * j), qj = _mm512_loadu_ps(q + 16 * j);
    unrolled<8>([&]<int i>() __attribute__((always_inline)) {
      const __m512 s = _mm512_set1_ps(S[i * dk + j]);
      a[i] = _mm512_fmadd_ps(s, kj, a[i]);
      b[i] = _mm512_fmadd_ps(s, qj, b[i]);
    });
  }
  unrolled<8>([&]<int i>() __attribute__((always_inline)) {
    _mm512_storeu_ps(Sk + 16 * i, a[i]);
    _mm512_storeu_ps(Sq + 16 * i, b[i]);
  });
}

/// (I + A) X = R for A [16][16] below the diagonal, R and X in registers of 16 values: a solved token is taken off all later
/// ones, which do not wait for each other.
inline void solve(const float* A, __m512 (&r)[16]) {
  unrolled<15>([&]<int s>() __attribute__((always_inline)) {
    unrolled<15 - s>([&]<int u>() __attribute__((always_inline)) {
      constexpr int t = s + 1 + u;
      r[t] = _mm512_fnmadd_ps(_mm512_set1_ps(A[16 * t + s]), r[s], r[t]);
    });
  });
}

/// out = out + P x for P [16][16] on and below the diagonal.
template <class Add>
[[gnu::always_inline]] inline void weighted(const float* P, const __m512 (&x)[16], const Add& add) {
  unrolled<16>([&]<int t>() __attribute__((always_inline)) {
    __m512 even = _mm512_mul_ps(_mm512_set1_ps(P[16 * t]), x[0]), odd = _mm512_setzero_ps();
    unrolled<t>([&]<int u>() __attribute__((always_inline)) {
      constexpr int s = u + 1;
      const __m512 p = _mm512_set1_ps(P[16 * t + s]);
      if constexpr (s % 2 == 0)
        even = _mm512_fmadd_ps(p, x[s], even);
      else
        odd = _mm512_fmadd_ps(p, x[s], odd);
    });
    add(t, _mm512_add_ps(even, odd));
  });
}

/// S [4][dk] <- decay S + sum over t of x[t][i] k[t][..], on columns j .. j + 16 V.
template <int V>
inline void change_columns(float* S, int64_t dk, int64_t j, float decay, const float* x, const float* k) {
  constexpr int R = 16 / V;
  __m512 acc[R][V];
  const __m512 d = _mm512_set1_ps(decay);
  unrolled<R>([&]<int i>() __attribute__((always_inline)) {
    unrolled<V>([&]<int c>() __attribute__((always_inline)) { acc[i][c] = _mm512_mul_ps(d, _mm512_loadu_ps(S + i * dk + j + 16 * c)); });
  });
  for (int t = 0; t < kChunk; ++t) {
    __m512 kt[V];
    unrolled<V>([&]<int c>() __attribute__((always_inline)) { kt[c] = _mm512_loadu_ps(k + t * dk + j + 16 * c); });
    unrolled<R>([&]<int i>() __attribute__((always_inline)) {
      const __m512 xi = _mm512_set1_ps(x[16 * t + i]);
      unrolled<V>([&]<int c>() __attribute__((always_inline)) { acc[i][c] = _mm512_fmadd_ps(xi, kt[c], acc[i][c]); });
    });
  }
  unrolled<R>([&]<int i>() __attribute__((always_inline)) {
    unrolled<V>([&]<int c>() __attribute__((always_inline)) { _mm512_storeu_ps(S + i * dk + j + 16 * c, acc[i][c]); });
  });
}

/// The same for 16 rows and all columns: a tile of 16 registers, 4 x 4 where columns suffice, for its loads are fewest then.
inline void change_rows(float* S, int64_t dk, float decay, const float* x, const float* k) {
  int64_t j = 0;
  for (; j + 64 <= dk; j += 64)
    for (int i = 0; i < 16; i += 4) change_columns<4>(S + i * dk, dk, j, decay, x + i, k);
  for (; j + 32 <= dk; j += 32)
    for (int i = 0; i < 16; i += 8) change_columns<2>(S + i * dk, dk, j, decay, x + i, k);
  for (; j < dk; j += 16) change_columns<1>(S, dk, j, decay, x, k);
}

}  // namespace KERF_ISA
}  // namespace kerf::cpu
