// Products of sixteen interleaved rows with q8_g16 activations: a lane is a row, vpdpbusd adds four products of a broadcast
// word of activations to each, and no sum ever crosses lanes. For T tokens a register of codes is used T times.
//
// Per group of 16 values and token: 4 vpdpbusd, a conversion, and the multiplications with the two scales. What belongs to a
// group of activations alone is computed once per segment (GroupTerms): a minimum is subtracted with one fma, and an offset
// of the codes costs nothing: the integer sum begins at -offset * sum(q) instead of 0.
//
// Order of additions, the same for any T and for unpacked panels: within a segment group after group (even and odd groups
// apart where each has a scale of its own, so that one fma need not wait for the other), then segment after segment.
#pragma once
#include <array>
#include <cstring>
#include <utility>

#include "backends/cpu/lanes16.h"
#include "backends/cpu/matmul.h"
#include "backends/cpu/unrolled.h"
#include "quant/q8_g16.h"

namespace kerf::cpu {
inline namespace KERF_ISA {

inline constexpr int kSegmentGroups = kSegment / 16;
inline constexpr int64_t kDirectTokens = 8;  // so many tokens' sums fit in registers

/// What the arithmetic has to know about a format.
template <class F>
struct KindOf {
  static constexpr bool kShared = Lanes16<F>::kGroupsPerScale == 2, kMin = F::kHasMin, kOffset = F::kOffset != 0;
};
template <bool shared, bool min, bool offset>
struct Kind {
  static constexpr bool kShared = shared, kMin = min, kOffset = offset;
};
template <class F>
using AnyKind = Kind<KindOf<F>::kShared, KindOf<F>::kMin, KindOf<F>::kOffset>;

/// A segment of one token: d / 2^shift of each group, and its share of what is not a product of codes: d * sum, for two
/// groups together (at the even one) where they share a minimum; or the integer -offset * 2^shift * sum. Division by 2^shift
/// is exact but for activations below 2^-122.
struct GroupTerms {
  alignas(64) float d[kSegmentGroups], c[kSegmentGroups];
};

template <class F>
inline constexpr std::array<float, 16> kShifts = [] {
  std::array<float, 16> gain{};
  for (int g = 0; g < 16; ++g) gain[g] = static_cast<float>(1 << Lanes16<F>::shift(g % Lanes16<F>::kGroups));
  return gain;
}();

/// The segment of `groups` groups that begins at value `begin` of an activation row.
/// @param gains 2^shift of the groups of sixteen: those of the interleaved form, or ones for codes that are not shifted
template <class F>
void group_terms(const std::byte* row, int64_t K, int64_t begin, int64_t groups, GroupTerms& out, const std::array<float, 16>& gains = kShifts<F>) {
  const quant::Q8_G16::Row x = quant::Q8_G16::row(row, K);
  const __m512 gain = _mm512_loadu_ps(gains.data()), inverse = _mm512_div_ps(_mm512_set1_ps(1), gain);
  for (int64_t g = 0; g < groups; g += 16) {
    const auto there = static_cast<__mmask16>(groups - g >= 16 ? 0xFFFF : (1 << (groups - g)) - 1);
    const __m512 d = _mm512_maskz_loadu_ps(there, x.d + begin / 16 + g), sum = _mm512_maskz_loadu_ps(there, x.sum + begin / 16 + g);
    _mm512_store_ps(out.d + g, _mm512_mul_ps(d, inverse));
    if constexpr (KindOf<F>::kOffset) {
      const __m512 share = _mm512_mul_ps(sum, _mm512_mul_ps(gain, _mm512_set1_ps(-F::kOffset)));
      _mm512_store_si512(out.c + g, _mm512_cvtps_epi32(share));
    } else {
      const __m512 share = _mm512_mul_ps(d, sum);
      _mm512_store_ps(out.c + g, KindOf<F>::kShared ? _mm512_add_ps(share, _mm512_permute_ps(share, 0xB1)) : share);
    }
  }
}

/// Asks for a line of a stream twice: far ahead into L2, where enough requests can be under way for the latency of DRAM, and
/// shortly before use into L1. Measured, q4_k, one thread: 94 % of the stream; 77 % with one request into L1 at any distance
/// from 2 to 16 KB (its 16 buffers are the limit), 87 % with the one into L2 alone; 12 to 32 KB and 1 to 4 KB do alike. More
/// tokens take longer per line and need L1 for themselves: with 8 of them the shorter way gains 10 %.
template <int T>
[[gnu::always_inline]] inline void prefetch_line(const std::byte* p) {
  __builtin_prefetch(p + (T <= 2 ? 16 : 6) * 1024, 0, 2);
  __builtin_prefetch(p + (T <= 2 ? 2048 : 512), 0, 3);
}

/// Hides from the optimizer how a number came about. GCC would otherwise give each address of the inner loop an induction
/// variable of its own, too many for the registers.
template <class V>
void opaque(V& v) {
  __asm__("" : "+r"(v));
}

inline __m512i broadcast_word(const void* p) {
  int word;
  std::memcpy(&word, p, sizeof word);
  return _mm512_set1_epi32(word);
}

/// Sixteen outputs of one token: what a segment has added up so far.
template <class K>
struct LaneSum {
  __m512 part[K::kShared ? 1 : 2];
  __m512 total() const { return K::kShared ? part[0] : _mm512_add_ps(part[0], part[K::kShared ? 0 : 1]); }
};

template <class K>
[[gnu::always_inline]] inline __m512 group_dot(const __m512i (&code)[4], const std::byte* q, const float* c) {
  __m512i dot = K::kOffset ? broadcast_word(c) : _mm512_setzero_si512();
  for (int v = 0; v < 4; ++v) dot = _mm512_dpbusd_epi32(dot, code[v], broadcast_word(q + 4 * v));
  return _mm512_cvtepi32_ps(dot);
}

/// Two neighbouring groups of T tokens; `terms` of token t are T's stride apart. Scale and minimum i belong to group i.
template <class K, int T>
[[gnu::always_inline]] inline void add_pair(const __m512i (&even)[4], const __m512i (&odd)[4], const __m512 (&scale)[2], const __m512 (&min)[2],
                                            const std::byte* const (&x)[T], int64_t q, const GroupTerms* terms, int64_t g, LaneSum<K> (&sum)[T]) {
  unrolled<T>([&]<int t>() __attribute__((always_inline)) {
    const float *d = terms[t].d + g, *c = terms[t].c + g;
    const __m512 a = _mm512_mul_ps(group_dot<K>(even, x[t] + q, c), _mm512_set1_ps(d[0]));
    const __m512 b = group_dot<K>(odd, x[t] + q + 16, c + 1), db = _mm512_set1_ps(d[1]);
    __m512& first = sum[t].part[0];
    if constexpr (K::kShared) {
      first = _mm512_fmadd_ps(scale[0], _mm512_fmadd_ps(b, db, a), first);
      if constexpr (K::kMin) first = _mm512_fnmadd_ps(min[0], _mm512_set1_ps(c[0]), first);
    } else {
      __m512& second = sum[t].part[1];
      first = _mm512_fmadd_ps(scale[0], a, first);
      second = _mm512_fmadd_ps(scale[1], _mm512_mul_ps(b, db), second);
      if constexpr (K::kMin) {
        first = _mm512_fnmadd_ps(min[0], _mm512_set1_ps(c[0]), first);
        second = _mm512_fnmadd_ps(min[1], _mm512_set1_ps(c[1]), second);
      }
    }
  });
}

/// A block of sixteen rows, unpacked as it is multiplied; it begins at value q of the activations and group g of the segment.
template <class F, int T>
[[gnu::always_inline]] inline void add_block(const std::byte* words, const std::byte* halves, const std::byte* const (&x)[T], int64_t q,
                                             const GroupTerms* terms, int64_t g, LaneSum<AnyKind<F>> (&sum)[T]) {
  using L = Lanes16<F>;
  const typename L::Scales scales(words, halves);
  const auto pair = [&]<int p>() __attribute__((always_inline)) {
    constexpr int kPairs = L::kGroups / 2, kWords = quant::Interleaved<F>::kWords;
    for (int w = p * kWords / kPairs; w < (p + 1) * kWords / kPairs; ++w) prefetch_line<T>(words + 64 * w);
    __m512i even[4], odd[4];
    L::template codes<2 * p>(words, even);
    L::template codes<2 * p + 1>(words, odd);
    constexpr int i = 2 * p / L::kGroupsPerScale, j = i + (L::kGroupsPerScale == 1);
    __m512 scale[2] = {scales.template scale<i>()}, min[2];
    if constexpr (j != i) scale[1] = scales.template scale<j>();
    if constexpr (F::kHasMin) min[0] = scales.template min<i>();
    if constexpr (F::kHasMin && j != i) min[1] = scales.template min<j>();
    add_pair<AnyKind<F>, T>(even, odd, scale, min, x, q + 32 * p, terms, g + 2 * p, sum);
  };
  unrolled<L::kGroups / 2>(pair);
}

/// Addresses of T activation rows from t0 on; those that a.T lacks repeat the last.
template <int T>
void token_rows(const MatMulArgs& a, int64_t t0, const std::byte* (&x)[T]) {
  for (int t = 0; t < T; ++t) {
    x[t] = activations(a, t0 + t < a.T ? t0 + t : a.T - 1);
    opaque(x[t]);
  }
}

inline __mmask16 rows_there(const MatMulArgs& a, int64_t n) {
  return a.N - n >= 16 ? __mmask16(0xFFFF) : static_cast<__mmask16>((1u << (a.N - n)) - 1);
}

/// Outputs n..n+15 of tokens t0..t0+T-1, those of them that exist.
template <class F, int T>
void lanes_tile(const MatMulArgs& a, int64_t n, int64_t t0) {
  using R = quant::Interleaved<F>;
  constexpr int kValues = info(F::dtype).block_values;
  const int64_t blocks = a.K / kValues;
  const std::byte* tile = a.w + n * a.w_bytes;
  const std::byte* x[T];
  token_rows<T>(a, t0, x);
  GroupTerms terms[T];
  __m512 y[T];
  for (auto& v : y) v = _mm512_setzero_ps();
  for (int64_t begin = 0; begin < a.K; begin += kSegment) {
    const int64_t end = begin + kSegment < a.K ? begin + kSegment : a.K;
    for (int t = 0; t < T; ++t) group_terms<F>(x[t], a.K, begin, (end - begin) / 16, terms[t]);
    LaneSum<AnyKind<F>> sum[T];
    for (auto& s : sum)
      for (auto& v : s.part) v = _mm512_setzero_ps();
    const std::byte *words = R::words(tile, begin / kValues), *halves = R::halves(tile, blocks, begin / kValues);
    for (int64_t q = begin; q < end; q += kValues, words += 64 * R::kWords, halves += 32) {
      int64_t at = q;
      opaque(at);
      add_block<F, T>(words, halves, x, at, terms, (q - begin) / 16, sum);
    }
    for (int t = 0; t < T; ++t) y[t] = _mm512_add_ps(y[t], sum[t].total());
  }
  for (int t = 0; t < T && t0 + t < a.T; ++t) _mm512_mask_storeu_ps(a.y + (t0 + t) * a.N + n, rows_there(a, n), y[t]);
}

/// One segment of sixteen rows, unpacked: for all tokens of a large batch it is the same few kilobytes of an L1 cache.
struct Panel {
  alignas(64) uint8_t code[kSegmentGroups][4][64];
  alignas(64) float scale[kSegmentGroups][16], min[kSegmentGroups][16];
};

template <class F>
void fill_panel(const std::byte* words, const std::byte* halves, int64_t g, Panel& panel) {
  using L = Lanes16<F>;
  const typename L::Scales scales(words, halves);
  const auto group = [&]<int i>() __attribute__((always_inline)) {
    __m512i code[4];
    L::template codes<i>(words, code);
    for (int v = 0; v < 4; ++v) _mm512_store_si512(panel.code[g + i][v], code[v]);
    if constexpr (i % L::kGroupsPerScale == 0) {
      _mm512_store_ps(panel.scale[g + i], scales.template scale<i / L::kGroupsPerScale>());
      if constexpr (F::kHasMin) _mm512_store_ps(panel.min[g + i], scales.template min<i / L::kGroupsPerScale>());
    }
  };
  unrolled<L::kGroups>(group);
}

/// Weights that are wanted next, asked for while others are multiplied: a stretch of `step` bytes for each pair of groups.
struct Ahead {
  const std::byte* next;
  int64_t step;
  void ask() {
    for (const std::byte* end = next + step; next < end; next += 64) __builtin_prefetch(next, 0, 2);
  }
};

/// The segment's share of outputs n..n+15 of tokens t0..t0+T-1, whose terms are given.
template <class K, int T>
void panel_tokens(const MatMulArgs& a, const Panel& panel, int64_t n, int64_t begin, int64_t groups, int64_t t0, const GroupTerms* terms,
                  Ahead& ahead) {
  const std::byte* x[T];
  token_rows<T>(a, t0, x);
  LaneSum<K> sum[T];
  for (auto& s : sum)
    for (auto& v : s.part) v = _mm512_setzero_ps();
  for (int64_t g = 0; g < groups; g += 2) {
    __m512i even[4], odd[4];
    for (int v = 0; v < 4; ++v) even[v] = _mm512_load_si512(panel.code[g][v]), odd[v] = _mm512_load_si512(panel.code[g + 1][v]);
    const __m512 scale[2] = {_mm512_load_ps(panel.scale[g]), _mm512_load_ps(panel.scale[g + 1])};
    const __m512 min[2] = {_mm512_load_ps(panel.min[g]), _mm512_load_ps(panel.min[g + 1])};
    int64_t q = begin + 16 * g;
    opaque(q);
    add_pair<K, T>(even, odd, scale, min, x, q, terms, g, sum);
    ahead.ask();
  }
  for (int t = 0; t < T && t0 + t < a.T; ++t) {
    float* y = a.y + (t0 + t) * a.N + n;
    const __m512 before = begin > 0 ? _mm512_maskz_loadu_ps(rows_there(a, n), y) : _mm512_setzero_ps();
    _mm512_mask_storeu_ps(y, rows_there(a, n), _mm512_add_ps(before, sum[t].total()));
  }
}

/// f<T>() for the smallest T that has an instance and covers `tokens`, at most 8.
template <class Fn>
void with_tokens(int64_t tokens, Fn&& f) {
  if (tokens > 6) return f.template operator()<8>();
  if (tokens > 4) return f.template operator()<6>();
  if (tokens > 3) return f.template operator()<4>();
  if (tokens > 2) return f.template operator()<3>();
  if (tokens > 1) return f.template operator()<2>();
  return f.template operator()<1>();
}

inline constexpr int64_t kPanelBlock = 128;  // tokens whose terms (64 KB) and activations of a segment (128 KB) stay in L2

template <class F>
void lanes_panels(const MatMulArgs& a, int64_t first, int64_t last) {
  using R = quant::Interleaved<F>;
  constexpr int kValues = info(F::dtype).block_values;
  Panel panel;
  GroupTerms terms[kPanelBlock];
  for (int64_t t0 = 0; t0 < a.T; t0 += kPanelBlock) {
    const int64_t t1 = t0 + kPanelBlock < a.T ? t0 + kPanelBlock : a.T;
    for (int64_t begin = 0; begin < a.K; begin += kSegment) {
      const int64_t end = begin + kSegment < a.K ? begin + kSegment : a.K, groups = (end - begin) / 16;
      for (int64_t t = t0; t < t1; ++t) group_terms<F>(activations(a, t), a.K, begin, groups, terms[t - t0]);
      for (int64_t n = first; n < last; n += 16) {
        const std::byte* tile = a.w + n * a.w_bytes;
        for (int64_t k = begin; k < end; k += kValues)
          fill_panel<F>(R::words(tile, k / kValues), R::halves(tile, a.K / kValues, k / kValues), (k - begin) / 16, panel);
        // Filling a panel waits for memory, multiplying does not: so memory works for the next panel meanwhile. Measured for q8_0,
        // 8960 x 1536: 0.94 ms instead of 1.12 for 16 tokens, 0.71 instead of 0.85 for 9.
        const bool more_rows = n + 16 < last, more_values = end < a.K;
        const std::byte* next = a.w + (more_rows ? n + 16 : more_values ? first : last) * a.w_bytes;
        const int64_t passes = (t1 - t0 + kDirectTokens - 1) / kDirectTokens, bytes = groups * 16 / kValues * R::kWords * 64;
        Ahead ahead{R::words(next, (more_rows ? begin : more_values ? end : 0) / kValues), (bytes / (groups / 2 * passes) + 63) / 64 * 64};
        for (int64_t t = t0; t < t1; t += kDirectTokens)
          with_tokens(t1 - t, [&]<int T>() { panel_tokens<AnyKind<F>, T>(a, panel, n, begin, groups, t, terms + (t - t0), ahead); });
      }
    }
  }
}

/// Rows [first, last) of a weight in format F with sixteen rows interleaved; `first` begins a tile.
template <class F>
void lanes_rows(const MatMulArgs& a, int64_t first, int64_t last) {
  if (a.T > kDirectTokens) return lanes_panels<F>(a, first, last);
  for (int64_t n = first; n < last; n += 16) with_tokens(a.T, [&]<int T>() { lanes_tile<F, T>(a, n, 0); });
}

}  // namespace KERF_ISA
}  // namespace kerf::cpu
