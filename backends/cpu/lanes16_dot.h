// Products of sixteen interleaved rows with q8_g32 activations: a lane is a row, vpdpbusd adds four products of a broadcast
// word of activations to each, and no sum ever crosses lanes. For T tokens a register of codes is used T times.
//
// Per group of 32 values and token: 8 vpdpbusd, a conversion, and a multiplication with each of the two scales. What belongs
// to a group of activations alone is computed once per segment (GroupTerms): a minimum is subtracted with one fma, and an
// offset of the codes costs nothing: the integer sum begins at -offset * sum(q) instead of 0. Where weights have scales for 16
// values, floats of the halves of a group are multiplied and added (q6_k), or integers (q2_k, q3_k), which takes no
// instruction at all in a panel whose codes were multiplied with them as it was filled.
//
// With n instructions for the scales of 32 values a processor that multiplies and adds, floats or codes, with one instruction a
// cycle is busy with codes for 8 / (8 + n) of the time: n is 2, with a minimum 3; 3 for q6_k; 1 for q3_k and 3 for q2_k, of
// which one more in eight groups.
//
// Order of additions, the same for any T and for unpacked panels: within a segment group after group (where scales are
// integers, within a block of 256 and then block after block), then segment after segment.
#pragma once
#include <array>
#include <cstring>
#include <utility>

#include "backends/cpu/lanes16.h"
#include "backends/cpu/matmul.h"
#include "backends/cpu/unrolled.h"
#include "quant/q8_g32.h"

namespace kerf::cpu {
inline namespace KERF_ISA {

inline constexpr int kSegmentGroups = kSegment / 32;
inline constexpr int64_t kDirectTokens = 8;  // so many tokens' sums fit in registers

/// What the arithmetic has to know about a format.
template <bool shared, bool min, bool offset, bool folds, bool folded>
struct Kind {
  static constexpr bool kShared = shared;  // the halves of a group of 32 values share scale and minimum
  static constexpr bool kMin = min, kOffset = offset;
  static constexpr bool kFolds = folds;              // scales are integers (Folds)
  static constexpr bool kFolded = folded;            // codes have been multiplied with them
  static constexpr bool kOneSum = shared || folded;  // the products of the halves may be added as integers
  static constexpr bool kHalfTerms = min ? !shared : !kOneSum;
};
template <class F, bool panel>
using KindOf = Kind<Lanes16<F>::kGroupsPerScale == 2, F::kHasMin, F::kOffset != 0, Folds<F>, panel && Folds<F>>;

/// A segment of one token: d of each group, divided by 2^shift of its codes (exact but for activations below 2^-122); and its
/// share of what is not a product of codes: with a minimum for each group 2^shift * sum, for each half of one (kHalfTerms)
/// d * sum; with an offset the integer -offset * 2^shift * sum, of a group or of each half.
struct GroupTerms {
  alignas(64) float d[kSegmentGroups], c[2 * kSegmentGroups];
};

/// 2^shift of sixteen half groups.
template <class F, bool panel>
inline constexpr std::array<float, 16> kGains = [] {
  std::array<float, 16> gain{};
  for (int h = 0; h < 16; ++h) gain[h] = panel && Folds<F> ? 1.f : static_cast<float>(1 << Lanes16<F>::shift(h % Lanes16<F>::kGroups));
  return gain;
}();
template <class F, bool panel>
constexpr float code_offset() {
  if constexpr (panel && Folds<F>)
    return Lanes16<F>::kFoldedOffset;
  else
    return F::kOffset;
}

/// Lanes 0, 2, .. of v.
inline __m256 even_lanes(__m512 v) {
  return _mm512_castps512_ps256(_mm512_permutexvar_ps(_mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 0, 0, 0, 0, 0, 0, 0, 0), v));
}

/// The segment of `values` values that begins at value `begin` of an activation row.
template <class F, bool panel>
void group_terms(const std::byte* row, int64_t K, int64_t begin, int64_t values, GroupTerms& out) {
  using Of = KindOf<F, panel>;
  const quant::Q8_G32::Row x = quant::Q8_G32::row(row, K);
  const __m512 gain = _mm512_loadu_ps(kGains<F, panel>.data()), inverse = _mm512_div_ps(_mm512_set1_ps(1), gain);
  const __m512 per_sum = _mm512_mul_ps(gain, _mm512_set1_ps(-code_offset<F, panel>()));
  for (int64_t h = 0; h < values / 16; h += 16) {
    const int64_t left = values / 16 - h;
    const auto there = static_cast<__mmask16>(left >= 16 ? 0xFFFF : (1 << left) - 1);
    const __m512 d = _mm512_maskz_loadu_ps(there, x.d + begin / 16 + h), sum = _mm512_maskz_loadu_ps(there, x.sum + begin / 16 + h);
    _mm256_store_ps(out.d + h / 2, even_lanes(_mm512_mul_ps(d, inverse)));
    __m512 share = _mm512_mul_ps(sum, Of::kOffset ? per_sum : Of::kHalfTerms ? d : gain);
    if constexpr (!Of::kHalfTerms) share = _mm512_add_ps(share, _mm512_permute_ps(share, 0xB1));
    if constexpr (Of::kOffset) share = _mm512_castsi512_ps(_mm512_cvtps_epi32(share));
    if constexpr (Of::kHalfTerms)
      _mm512_store_ps(out.c + h, share);
    else
      _mm256_store_ps(out.c + h / 2, even_lanes(share));
  }
}

/// For processors that do not follow a stream by themselves (asks_for_streams): asks for a line of it twice, far ahead into L2, where enough requests
/// can be under way for the latency of DRAM, and shortly before use into L1. Measured, q4_k, one thread: 94 % of the stream; 77 % with one request
/// into L1 at any distance from 2 to 16 KB (its 16 buffers are the limit), 87 % with the one into L2 alone; 12 to 32 KB and 1 to 4 KB do alike. More
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

/// Sixteen outputs of one token: what a segment has added up so far; and where scales are integers, what a block of 256 has
/// added up without its d.
struct LaneSum {
  __m512 total = _mm512_setzero_ps(), block = _mm512_setzero_ps();
};

/// What scales the codes of a group: of both its halves, or of each.
struct GroupScales {
  __m512 scale[2], min[2];
  __m512i factor[2];  // integers instead of `scale`
};

/// The integer products of half a group with T tokens, added to `dot`. All tokens take a word before the next word is taken, so
/// that T sums grow side by side and none waits for its own last addition (four cycles).
template <int T>
[[gnu::always_inline]] inline void add_dots(const __m512i (&code)[4], const std::byte* const (&x)[T], int64_t q, __m512i (&dot)[T]) {
  unrolled<4>([&]<int v>() __attribute__((always_inline)) {
    unrolled<T>([&]<int t>() __attribute__((always_inline)) { dot[t] = _mm512_dpbusd_epi32(dot[t], code[v], broadcast_word(x[t] + q + 4 * v)); });
  });
}

/// Where those sums begin: with the offsets' share, number i of the terms.
template <class K, int T>
[[gnu::always_inline]] inline void begin_dots(const GroupTerms* terms, int64_t i, __m512i (&dot)[T]) {
  unrolled<T>([&]<int t>() __attribute__((always_inline)) { dot[t] = K::kOffset ? broadcast_word(terms[t].c + i) : _mm512_setzero_si512(); });
}

/// Group g of a segment, at value q of the activations, for T tokens; `terms` of token t are T's stride apart.
template <class K, int T>
[[gnu::always_inline]] inline void add_group(const __m512i (&low)[4], const __m512i (&high)[4], const GroupScales& s, const std::byte* const (&x)[T],
                                             int64_t q, const GroupTerms* terms, int64_t g, LaneSum (&sum)[T]) {
  __m512i dot[T];
  const auto d = [&](int t) __attribute__((always_inline)) { return _mm512_set1_ps(terms[t].d[g]); };
  const auto c = [&](int t, int64_t i) __attribute__((always_inline)) { return _mm512_set1_ps(terms[t].c[i]); };
  begin_dots<K, T>(terms, K::kHalfTerms ? 2 * g : g, dot);
  add_dots<T>(low, x, q, dot);
  if constexpr (K::kOneSum) {
    add_dots<T>(high, x, q + 16, dot);
    unrolled<T>([&]<int t>() __attribute__((always_inline)) {
      const __m512 products = _mm512_cvtepi32_ps(dot[t]);
      if constexpr (K::kFolds) {
        sum[t].block = _mm512_fmadd_ps(products, d(t), sum[t].block);
      } else {
        __m512 y = _mm512_mul_ps(s.scale[0], products);
        if constexpr (K::kMin) y = _mm512_fnmadd_ps(s.min[0], c(t, g), y);  // before d rounds them: they may cancel
        sum[t].total = _mm512_fmadd_ps(y, d(t), sum[t].total);
      }
    });
  } else if constexpr (K::kFolds) {
    __m512i first[T];
    unrolled<T>([&]<int t>() __attribute__((always_inline)) { first[t] = _mm512_mullo_epi32(dot[t], s.factor[0]); });
    begin_dots<K, T>(terms, 2 * g + 1, dot);
    add_dots<T>(high, x, q + 16, dot);
    unrolled<T>([&]<int t>() __attribute__((always_inline)) {
      const __m512i products = _mm512_add_epi32(first[t], _mm512_mullo_epi32(dot[t], s.factor[1]));
      sum[t].block = _mm512_fmadd_ps(_mm512_cvtepi32_ps(products), d(t), sum[t].block);
    });
  } else {
    __m512 first[T];
    unrolled<T>([&]<int t>() __attribute__((always_inline)) { first[t] = _mm512_mul_ps(_mm512_cvtepi32_ps(dot[t]), s.scale[0]); });
    begin_dots<K, T>(terms, 2 * g + 1, dot);
    add_dots<T>(high, x, q + 16, dot);
    unrolled<T>([&]<int t>() __attribute__((always_inline)) {
      const __m512 products = _mm512_fmadd_ps(_mm512_cvtepi32_ps(dot[t]), s.scale[1], first[t]);
      sum[t].total = _mm512_fmadd_ps(products, d(t), sum[t].total);
    });
  }
  if constexpr (K::kMin && K::kHalfTerms)
    unrolled<T>([&]<int t>() __attribute__((always_inline)) {
      for (int h = 0; h < 2; ++h) sum[t].total = _mm512_fnmadd_ps(s.min[h], c(t, 2 * g + h), sum[t].total);
    });
}

/// The end of a block whose scales are integers.
template <int T>
[[gnu::always_inline]] inline void close_block(__m512 block_scale, LaneSum (&sum)[T]) {
  unrolled<T>([&]<int t>() __attribute__((always_inline)) {
    sum[t].total = _mm512_fmadd_ps(block_scale, sum[t].block, sum[t].total);
    sum[t].block = _mm512_setzero_ps();
  });
}

/// A block of sixteen rows, unpacked as it is multiplied; it begins at value q of the activations and group g of the segment.
template <class F, int T, bool asks>
[[gnu::always_inline]] inline void add_block(const std::byte* words, const std::byte* halves, const std::byte* const (&x)[T], int64_t q,
                                             const GroupTerms* terms, int64_t g, LaneSum (&sum)[T]) {
  using L = Lanes16<F>;
  const typename L::Scales scales(words, halves);
  const auto group = [&]<int p>() __attribute__((always_inline)) {
    constexpr int kPairs = L::kGroups / 2, kWords = quant::Interleaved<F>::kWords;
    static_assert(L::shift(2 * p) == L::shift(2 * p + 1));
    for (int w = p * kWords / kPairs; asks && w < (p + 1) * kWords / kPairs; ++w) prefetch_line<T>(words + 64 * w);
    __m512i low[4], high[4];
    L::template codes<2 * p>(words, low);
    L::template codes<2 * p + 1>(words, high);
    constexpr int i = 2 * p / L::kGroupsPerScale, j = i + (L::kGroupsPerScale == 1);
    GroupScales s;
    if constexpr (Folds<F>)
      s.factor[0] = scales.template factor<i>(), s.factor[1] = scales.template factor<j>();
    else
      s.scale[0] = scales.template scale<i>(), s.scale[1] = scales.template scale<j>();
    if constexpr (F::kHasMin) s.min[0] = scales.template min<i>(), s.min[1] = scales.template min<j>();
    add_group<KindOf<F, false>, T>(low, high, s, x, q + 32 * p, terms, g + p, sum);
  };
  unrolled<L::kGroups / 2>(group);
  if constexpr (Folds<F>) close_block<T>(scales.block_scale(), sum);
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
template <class F, int T, bool asks>
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
    for (int t = 0; t < T; ++t) group_terms<F, false>(x[t], a.K, begin, end - begin, terms[t]);
    LaneSum sum[T];
    const std::byte *words = R::words(tile, begin / kValues), *halves = R::halves(tile, blocks, begin / kValues);
    for (int64_t q = begin; q < end; q += kValues, words += 64 * R::kWords, halves += 32) {
      int64_t at = q;
      opaque(at);
      add_block<F, T, asks>(words, halves, x, at, terms, (q - begin) / 32, sum);
    }
    for (int t = 0; t < T; ++t) y[t] = _mm512_add_ps(y[t], sum[t].total);
  }
  for (int t = 0; t < T && t0 + t < a.T; ++t) _mm512_mask_storeu_ps(a.y + (t0 + t) * a.N + n, rows_there(a, n), y[t]);
}

/// One segment of sixteen rows, unpacked: for all tokens of a large batch it is the same few kilobytes of an L1 cache. Scales
/// and minima of a group in the first place, of its halves in both; or the scale of a block in that of its first group.
struct Panel {
  alignas(64) uint8_t code[kSegmentGroups][2][4][64];
  alignas(64) float scale[kSegmentGroups][2][16], min[kSegmentGroups][2][16];
};

/// A block of sixteen rows, from group g of the segment on.
template <class F>
void fill_panel(const std::byte* words, const std::byte* halves, int64_t g, Panel& panel) {
  using L = Lanes16<F>;
  const typename L::Scales scales(words, halves);
  const auto half = [&]<int i>() __attribute__((always_inline)) {
    constexpr int s = i / L::kGroupsPerScale;
    constexpr bool kHasScale = i % L::kGroupsPerScale == 0;
    __m512i code[4];
    if constexpr (Folds<F>)
      L::template folded<i>(words, scales.template factor<i>(), code);
    else
      L::template codes<i>(words, code);
    for (int v = 0; v < 4; ++v) _mm512_store_si512(panel.code[g + i / 2][i % 2][v], code[v]);
    if constexpr (kHasScale && !Folds<F>) _mm512_store_ps(panel.scale[g + i / 2][i % 2], scales.template scale<s>());
    if constexpr (kHasScale && F::kHasMin) _mm512_store_ps(panel.min[g + i / 2][i % 2], scales.template min<s>());
  };
  unrolled<L::kGroups>(half);
  if constexpr (Folds<F>) _mm512_store_ps(panel.scale[g][0], L::kFoldedSign < 0 ? negated(scales.block_scale()) : scales.block_scale());
}

/// Weights that are wanted next, asked for while others are multiplied: a stretch of `step` bytes for each group.
struct Ahead {
  const std::byte* next;
  int64_t step;
  void ask() {
    for (const std::byte* end = next + step; next < end; next += 64) __builtin_prefetch(next, 0, 2);
  }
};

/// Where the sums of a task's tokens and rows grow: y + t * stride + n.
struct Sums {
  float* y;
  int64_t stride;
};

/// The segment's share of outputs n..n+15 of tokens t0..t0+T-1, whose terms are given.
template <class K, int T>
void panel_tokens(const MatMulArgs& a, const Panel& panel, const Sums& sums, int64_t n, int64_t begin, int64_t groups, int64_t t0,
                  const GroupTerms* terms, Ahead& ahead) {
  const std::byte* x[T];
  token_rows<T>(a, t0, x);
  LaneSum sum[T];
  for (int64_t g = 0; g < groups; ++g) {
    __m512i low[4], high[4];
    for (int v = 0; v < 4; ++v) low[v] = _mm512_load_si512(panel.code[g][0][v]), high[v] = _mm512_load_si512(panel.code[g][1][v]);
    GroupScales s;
    for (int h = 0; h < 2; ++h) s.scale[h] = _mm512_load_ps(panel.scale[g][h]), s.min[h] = _mm512_load_ps(panel.min[g][h]);
    int64_t q = begin + 32 * g;
    opaque(q);
    add_group<K, T>(low, high, s, x, q, terms, g, sum);
    if constexpr (K::kFolds)
      if (g % 8 == 7) close_block<T>(_mm512_load_ps(panel.scale[g - 7][0]), sum);
    ahead.ask();
  }
  for (int t = 0; t < T && t0 + t < a.T; ++t) {
    float* y = sums.y + (t0 + t) * sums.stride + n;
    const __m512 before = begin > 0 ? _mm512_maskz_loadu_ps(rows_there(a, n), y) : _mm512_setzero_ps();
    _mm512_mask_storeu_ps(y, rows_there(a, n), _mm512_add_ps(before, sum[t].total));
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

/// Rows of the output may be far apart: then the sums of a task of so few rows grow side by side, and are copied when they are
/// complete. Measured for q8_0, 8960 x 1536, 512 tokens: 296 GFLOP/s instead of 285 on one thread.
inline constexpr int64_t kPanelRows = 128;
inline constexpr int64_t kPanelBlock = 128;  // tokens whose terms (48 KB) and activations of a segment (128 KB) stay in L2

/// Weights whose sixteen rows are interleaved already.
template <class F>
struct TileSource {
  static constexpr int kValues = info(F::dtype).block_values;
  const MatMulArgs& a;
  int64_t first, last;

  const std::byte* words(int64_t n, int64_t k) const { return quant::Interleaved<F>::words(a.w + n * a.w_bytes, k / kValues); }

  void fill(int64_t n, int64_t begin, int64_t end, Panel& panel) const {
    for (int64_t k = begin; k < end; k += kValues)
      fill_panel<F>(words(n, k), quant::Interleaved<F>::halves(a.w + n * a.w_bytes, a.K / kValues, k / kValues), (k - begin) / 32, panel);
  }

  /// Filling a panel waits for memory, multiplying does not: so memory works for the next panel meanwhile. Measured for q8_0,
  /// 8960 x 1536: 0.94 ms instead of 1.12 for 16 tokens, 0.71 instead of 0.85 for 9.
  Ahead ahead(int64_t n, int64_t begin, int64_t end, int64_t tokens) const {
    const bool more_rows = n + 16 < last, more_values = end < a.K;
    const int64_t row = more_rows ? n + 16 : more_values ? first : last, value = more_rows ? begin : more_values ? end : 0;
    const int64_t passes = (tokens + kDirectTokens - 1) / kDirectTokens, bytes = (end - begin) / kValues * quant::Interleaved<F>::kWords * 64;
    return {words(row, value), (bytes / ((end - begin) / 32 * passes) + 63) / 64 * 64};
  }
};

template <class F, class Source>
void lanes_panels(const MatMulArgs& a, int64_t first, int64_t last) {
  const Source source{a, first, last};
  const int64_t rows = last - first;
  const bool apart = rows < a.N && rows <= kPanelRows;
  Panel panel;
  GroupTerms terms[kPanelBlock];
  alignas(64) float outputs[kPanelBlock * kPanelRows];
  for (int64_t t0 = 0; t0 < a.T; t0 += kPanelBlock) {
    const int64_t t1 = t0 + kPanelBlock < a.T ? t0 + kPanelBlock : a.T;
    const Sums sums = apart ? Sums{outputs - t0 * rows - first, rows} : Sums{a.y, a.N};
    for (int64_t begin = 0; begin < a.K; begin += kSegment) {
      const int64_t end = begin + kSegment < a.K ? begin + kSegment : a.K, groups = (end - begin) / 32;
      for (int64_t t = t0; t < t1; ++t) group_terms<F, true>(activations(a, t), a.K, begin, end - begin, terms[t - t0]);
      for (int64_t n = first; n < last; n += 16) {
        source.fill(n, begin, end, panel);
        Ahead ahead = source.ahead(n, begin, end, t1 - t0);
        for (int64_t t = t0; t < t1; t += kDirectTokens)
          with_tokens(t1 - t, [&]<int T>() { panel_tokens<KindOf<F, true>, T>(a, panel, sums, n, begin, groups, t, terms + (t - t0), ahead); });
      }
    }
    for (int64_t t = t0; t < t1 && apart; ++t)
      std::memcpy(a.y + t * a.N + first, outputs + (t - t0) * rows, static_cast<size_t>(rows) * sizeof(float));
  }
}

/// What is not one stream is always asked for: lone scales behind the words (without, q8_0 at 17 GB/s instead of 21 on a Zen 4, and
/// q6_k, whose words are not read in order either, at 9 instead of 16), and weights that several tokens keep in work.
template <class F, bool asks>
void lanes_tiles(const MatMulArgs& a, int64_t first, int64_t last) {
  for (int64_t n = first; n < last; n += 16) with_tokens(a.T, [&]<int T>() { lanes_tile<F, T, (asks || T > 2)>(a, n, 0); });
}

/// Rows [first, last) of a weight in format F with sixteen rows interleaved; `first` begins a tile.
template <class F>
void lanes_rows(const MatMulArgs& a, int64_t first, int64_t last) {
  if (a.T > kDirectTokens) return lanes_panels<F, TileSource<F>>(a, first, last);
  return asks_for_streams() || quant::Interleaved<F>::kLoneHalf ? lanes_tiles<F, true>(a, first, last) : lanes_tiles<F, false>(a, first, last);
}

}  // namespace KERF_ISA
}  // namespace kerf::cpu
