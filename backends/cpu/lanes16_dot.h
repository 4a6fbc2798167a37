// Products of sixteen interleaved rows with q8_g16 activations: a lane is a row, vpdpbusd adds four products of a broadcast
// word of activations to each, and no sum ever crosses lanes. For T tokens a register of codes is used T times.
//
// Per group of 16 values and token: 4 vpdpbusd, a conversion, and the multiplications with the two scales. What belongs to a
// group of activations alone is computed once per segment (GroupTerms): a minimum is subtracted with one fma, and an offset
// of the codes costs nothing: the integer sum begins at -offset * sum(q) instead of 0. Where the scales of weights are integers
// (q2_k, q3_k) the sum is multiplied with one before it becomes a float, which takes no instruction in a panel whose codes
// were multiplied as it was filled.
//
// A processor that multiplies and adds, floats or codes, with one instruction a cycle is busy with codes for 8 of 8 + n cycles,
// where n are the instructions for the scales of 32 values: 3 where they share a scale of the weights, with a minimum 4; 4 for
// q6_k; in panels 2 for q3_k and 4 for q2_k. Scales of activations for 32 values would save one of them, and measured 2 to 6 %
// more, but then a tiny q8_0 model was no nearer to the exact logits than llama.cpp is (tests/engine/test_golden.cpp).
//
// Order of additions, the same for any T and for unpacked panels: within a segment group after group (even and odd groups
// apart where each has a scale of its own, so that one fma need not wait for the other; where scales are integers, groups
// within a block of 256 and then block after block), then segment after segment.
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
template <bool shared, bool min, bool offset, bool folds>
struct Kind {
  static constexpr bool kShared = shared, kMin = min, kOffset = offset, kFolds = folds;
};
template <class F>
using KindOf = Kind<Lanes16<F>::kGroupsPerScale == 2, F::kHasMin, F::kOffset != 0, Folds<F>>;

/// What stands in the bytes that are multiplied: the code of group g of sixteen times gain[g], `offset` (times gain) too much.
struct Codes {
  std::array<float, 16> gain;
  float offset;
};
template <class F>
inline constexpr Codes kShiftedCodes = [] {
  Codes codes{.gain = {}, .offset = F::kOffset};
  for (int g = 0; g < 16; ++g) codes.gain[g] = static_cast<float>(1 << Lanes16<F>::shift(g % Lanes16<F>::kGroups));
  return codes;
}();
/// Those of a panel.
template <class F>
inline constexpr Codes kPanelCodes = [] {
  Codes codes = kShiftedCodes<F>;
  if constexpr (Folds<F>) codes = {.gain = {1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1}, .offset = Lanes16<F>::kFoldedOffset};
  return codes;
}();

/// A segment of one token: d / gain of each group, and its share of what is not a product of codes: d * sum, for two groups
/// together (at the even one) where they share a minimum; or the integer -offset * gain * sum. Division by a gain, a power of
/// two, is exact but for activations below 2^-122.
struct GroupTerms {
  alignas(64) float d[kSegmentGroups], c[kSegmentGroups];
};

/// The segment of `groups` groups that begins at value `begin` of an activation row.
template <class F>
void group_terms(const std::byte* row, int64_t K, int64_t begin, int64_t groups, const Codes& codes, GroupTerms& out) {
  using Of = KindOf<F>;
  const quant::Q8_G16::Row x = quant::Q8_G16::row(row, K);
  const __m512 gain = _mm512_loadu_ps(codes.gain.data()), inverse = _mm512_div_ps(_mm512_set1_ps(1), gain);
  for (int64_t g = 0; g < groups; g += 16) {
    const auto there = static_cast<__mmask16>(groups - g >= 16 ? 0xFFFF : (1 << (groups - g)) - 1);
    const __m512 d = _mm512_maskz_loadu_ps(there, x.d + begin / 16 + g), sum = _mm512_maskz_loadu_ps(there, x.sum + begin / 16 + g);
    _mm512_store_ps(out.d + g, _mm512_mul_ps(d, inverse));
    if constexpr (Of::kOffset) {
      const __m512 share = _mm512_mul_ps(sum, _mm512_mul_ps(gain, _mm512_set1_ps(-codes.offset)));
      _mm512_store_si512(out.c + g, _mm512_cvtps_epi32(share));
    } else {
      const __m512 share = _mm512_mul_ps(d, sum);
      _mm512_store_ps(out.c + g, Of::kShared ? _mm512_add_ps(share, _mm512_permute_ps(share, 0xB1)) : share);
    }
  }
}

/// Asks for a line of a tile before it is wanted; `near` on processors of the first kind.
///
/// Processors that do not follow a stream by themselves (asks_for_streams) are asked twice, far ahead into L2, where enough requests can be under way
/// for the latency of DRAM, and shortly before use into L1. Measured, q4_k, one thread: 94 % of the stream; 77 % with one request into L1 at any
/// distance from 2 to 16 KB (its 16 buffers are the limit), 87 % with the one into L2 alone; 12 to 32 KB and 1 to 4 KB do alike. More tokens take
/// longer per line and need L1 for themselves: with 8 of them the shorter way gains 10 %.
///
/// The others (Zen 4) follow the stream of one or two tokens, and requests only disturb them: q8_0 17 GB/s of 31 with them on one thread, 31 without.
/// With more tokens they look less far ahead; then the request into L2 gains, and one into L1 loses most of it. Two threads, 35 GB/s at most, 4 and 8
/// tokens: q4_k 35 and 19 GB/s, 26 and 13 without requests, 21 and 15 with both; q8_0 33 and 36, 23 and 18, 31 and 26.
template <class F, int T>
[[gnu::always_inline]] inline void prefetch_line(const std::byte* p, bool near) {
  if (near) {
    __builtin_prefetch(p + (T <= 2 ? 16 : 6) * 1024, 0, 2);
    __builtin_prefetch(p + (T <= 2 ? 2048 : 512), 0, 3);
  } else {
    __builtin_prefetch(p + (Lanes16<F>::kScattered ? 3 : 8) * 1024, 0, 2);
  }
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
template <class K>
struct LaneSum {
  __m512 part[K::kShared || K::kFolds ? 1 : 2];
  __m512 block;
  LaneSum() {
    for (auto& v : part) v = _mm512_setzero_ps();
    block = _mm512_setzero_ps();
  }
  __m512 total() const {
    if constexpr (sizeof part == sizeof(__m512))
      return part[0];
    else
      return _mm512_add_ps(part[0], part[1]);
  }
};

/// The integer products of a group with T tokens. All tokens take a word before the next word is taken, so that T sums grow
/// side by side and none waits for its own last addition (four cycles).
template <class K, int T>
[[gnu::always_inline]] inline void group_dots(const __m512i (&code)[4], const std::byte* const (&x)[T], int64_t q, const GroupTerms* terms, int64_t g,
                                              __m512i (&dot)[T]) {
  for (int t = 0; t < T; ++t) dot[t] = K::kOffset ? broadcast_word(terms[t].c + g) : _mm512_setzero_si512();
  for (int v = 0; v < 4; ++v)
    for (int t = 0; t < T; ++t) dot[t] = _mm512_dpbusd_epi32(dot[t], code[v], broadcast_word(x[t] + q + 4 * v));
}

/// Two neighbouring groups of T tokens; `terms` of token t are T's stride apart. Scale and minimum i belong to group i.
template <class K, int T>
[[gnu::always_inline]] inline void add_pair(const __m512i (&even)[4], const __m512i (&odd)[4], const __m512 (&scale)[2], const __m512 (&min)[2],
                                            const std::byte* const (&x)[T], int64_t q, const GroupTerms* terms, int64_t g, LaneSum<K> (&sum)[T]) {
  __m512i dot[T];
  __m512 a[T];
  group_dots<K, T>(even, x, q, terms, g, dot);
  for (int t = 0; t < T; ++t) {
    a[t] = _mm512_mul_ps(_mm512_cvtepi32_ps(dot[t]), _mm512_set1_ps(terms[t].d[g]));
    if constexpr (!K::kShared) {
      __m512& first = sum[t].part[0];
      first = _mm512_fmadd_ps(scale[0], a[t], first);
      if constexpr (K::kMin) first = _mm512_fnmadd_ps(min[0], _mm512_set1_ps(terms[t].c[g]), first);
    }
  }
  group_dots<K, T>(odd, x, q + 16, terms, g + 1, dot);
  for (int t = 0; t < T; ++t) {
    const __m512 b = _mm512_cvtepi32_ps(dot[t]), d = _mm512_set1_ps(terms[t].d[g + 1]);
    if constexpr (K::kShared) {
      __m512& first = sum[t].part[0];
      first = _mm512_fmadd_ps(scale[0], _mm512_fmadd_ps(b, d, a[t]), first);
      if constexpr (K::kMin) first = _mm512_fnmadd_ps(min[0], _mm512_set1_ps(terms[t].c[g]), first);
    } else {
      __m512& second = sum[t].part[1];
      second = _mm512_fmadd_ps(scale[1], _mm512_mul_ps(b, d), second);
      if constexpr (K::kMin) second = _mm512_fnmadd_ps(min[1], _mm512_set1_ps(terms[t].c[g + 1]), second);
    }
  }
}

/// A group whose scale is an integer: the sum of its products, times `factor`, is an integer too, and takes part in its block's
/// sum. Folded codes (factor null) have been multiplied before, and give the same integer.
template <class K, int T>
[[gnu::always_inline]] inline void add_group(const __m512i (&code)[4], const __m512i* factor, __m512 min, const std::byte* const (&x)[T], int64_t q,
                                             const GroupTerms* terms, int64_t g, LaneSum<K> (&sum)[T]) {
  __m512i dot[T];
  group_dots<K, T>(code, x, q, terms, g, dot);
  for (int t = 0; t < T; ++t) {
    const __m512i product = factor ? _mm512_mullo_epi32(dot[t], *factor) : dot[t];
    sum[t].block = _mm512_fmadd_ps(_mm512_cvtepi32_ps(product), _mm512_set1_ps(terms[t].d[g]), sum[t].block);
    if constexpr (K::kMin) sum[t].part[0] = _mm512_fnmadd_ps(min, _mm512_set1_ps(terms[t].c[g]), sum[t].part[0]);
  }
}

/// The end of a block of such groups.
template <class K, int T>
[[gnu::always_inline]] inline void close_block(__m512 block_scale, LaneSum<K> (&sum)[T]) {
  for (int t = 0; t < T; ++t) {
    sum[t].part[0] = _mm512_fmadd_ps(block_scale, sum[t].block, sum[t].part[0]);
    sum[t].block = _mm512_setzero_ps();
  }
}

/// Reads from a line, for no other purpose than that the line is read now.
inline void touch(const std::byte* p) {
  const auto byte = static_cast<int>(*p);
  __asm__ volatile("" ::"r"(byte));
}

/// A block of sixteen rows, unpacked as it is multiplied; it begins at value q of the activations and group g of the segment.
template <class F, int T, bool asks>
[[gnu::always_inline]] inline void add_block(const std::byte* words, const std::byte* halves, const std::byte* const (&x)[T], int64_t q,
                                             const GroupTerms* terms, int64_t g, LaneSum<KindOf<F>> (&sum)[T], bool near) {
  using L = Lanes16<F>;
  constexpr int kPairs = L::kGroups / 2, kWords = quant::Interleaved<F>::kWords;
  if constexpr (L::kScattered)  // a processor can only follow what is read in order: 28 GB/s instead of 8 for q6_k on a Zen 4
    if (!near)
      for (int w = 0; w < kWords; ++w) touch(words + 64 * w);
  if constexpr (asks && quant::Interleaved<F>::kLoneHalf) prefetch_line<F, T>(halves, near);
  const typename L::Scales scales(words, halves);
  const auto pair = [&]<int p>() __attribute__((always_inline)) {
    for (int w = p * kWords / kPairs; asks && w < (p + 1) * kWords / kPairs; ++w) prefetch_line<F, T>(words + 64 * w, near);
    __m512i even[4], odd[4];
    L::template codes<2 * p>(words, even);
    L::template codes<2 * p + 1>(words, odd);
    constexpr int i = 2 * p / L::kGroupsPerScale, j = i + (L::kGroupsPerScale == 1);
    __m512 min[2];
    if constexpr (F::kHasMin) min[0] = scales.template min<i>();
    if constexpr (F::kHasMin && j != i) min[1] = scales.template min<j>();
    if constexpr (Folds<F>) {
      const __m512i factor[2] = {scales.template factor<i>(), scales.template factor<j>()};
      add_group<KindOf<F>, T>(even, &factor[0], min[0], x, q + 32 * p, terms, g + 2 * p, sum);
      add_group<KindOf<F>, T>(odd, &factor[1], min[1], x, q + 32 * p + 16, terms, g + 2 * p + 1, sum);
    } else {
      __m512 scale[2] = {scales.template scale<i>()};
      if constexpr (j != i) scale[1] = scales.template scale<j>();
      add_pair<KindOf<F>, T>(even, odd, scale, min, x, q + 32 * p, terms, g + 2 * p, sum);
    }
  };
  unrolled<L::kGroups / 2>(pair);
  if constexpr (Folds<F>) close_block<KindOf<F>, T>(scales.block_scale(), sum);
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
void lanes_tile(const MatMulArgs& a, int64_t n, int64_t t0, bool near) {
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
    for (int t = 0; t < T; ++t) group_terms<F>(x[t], a.K, begin, (end - begin) / 16, kShiftedCodes<F>, terms[t]);
    LaneSum<KindOf<F>> sum[T];
    for (int64_t q = begin; q < end; q += kValues) {
      int64_t at = q;
      opaque(at);
      const int64_t b = q / kValues;
      add_block<F, T, asks>(R::words(tile, blocks, b), R::halves(tile, blocks, b), x, at, terms, (q - begin) / 16, sum, near);
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

/// A block of sixteen rows, from group g of the segment on.
template <class F>
void fill_panel(const std::byte* words, const std::byte* halves, int64_t g, Panel& panel) {
  using L = Lanes16<F>;
  const typename L::Scales scales(words, halves);
  const auto group = [&]<int i>() __attribute__((always_inline)) {
    constexpr int s = i / L::kGroupsPerScale;
    __m512i code[4];
    if constexpr (Folds<F>)
      L::template folded<i>(words, scales.template factor<i>(), code);
    else
      L::template codes<i>(words, code);
    for (int v = 0; v < 4; ++v) _mm512_store_si512(panel.code[g + i][v], code[v]);
    if constexpr (!Folds<F> && i % L::kGroupsPerScale == 0) _mm512_store_ps(panel.scale[g + i], scales.template scale<s>());
    if constexpr (F::kHasMin && i % L::kGroupsPerScale == 0) _mm512_store_ps(panel.min[g + i], scales.template min<s>());
  };
  unrolled<L::kGroups>(group);
  if constexpr (Folds<F>) _mm512_store_ps(panel.scale[g], L::kFoldedSign < 0 ? negated(scales.block_scale()) : scales.block_scale());
}

/// Weights that are wanted next, asked for while others are multiplied: a stretch of `step` bytes for each pair of groups.
struct Ahead {
  const std::byte* next;
  int64_t step;
  void ask() {
    for (const std::byte* end = next + step; next < end; next += 64) __builtin_prefetch(next, 0, 2);
  }
};

inline __m512i panel_word(const Panel& panel, int64_t g, int v) { return _mm512_load_si512(panel.code[g][v]); }

/// Where the sums of tokens from t0 and rows from n0 on grow.
struct Sums {
  float* y;
  int64_t stride, t0, n0;
  float* at(int64_t t, int64_t n) const { return y + (t - t0) * stride + n - n0; }
};

/// The segment's share of outputs n..n+15 of tokens t0..t0+T-1, whose terms are given.
template <class K, int T>
void panel_tokens(const MatMulArgs& a, const Panel& panel, const Sums& sums, int64_t n, int64_t begin, int64_t groups, int64_t t0,
                  const GroupTerms* terms, Ahead& ahead) {
  const std::byte* x[T];
  token_rows<T>(a, t0, x);
  LaneSum<K> sum[T];
  for (int64_t g = 0; g < groups; g += 2) {
    __m512i even[4], odd[4];
    for (int v = 0; v < 4; ++v) even[v] = panel_word(panel, g, v), odd[v] = panel_word(panel, g + 1, v);
    const __m512 min[2] = {_mm512_load_ps(panel.min[g]), _mm512_load_ps(panel.min[g + 1])};
    int64_t q = begin + 16 * g;
    opaque(q);
    if constexpr (K::kFolds) {
      add_group<K, T>(even, nullptr, min[0], x, q, terms, g, sum);
      add_group<K, T>(odd, nullptr, min[1], x, q + 16, terms, g + 1, sum);
      if (g % 16 == 14) close_block<K, T>(_mm512_load_ps(panel.scale[g - 14]), sum);
    } else {
      const __m512 scale[2] = {_mm512_load_ps(panel.scale[g]), _mm512_load_ps(panel.scale[g + 1])};
      add_pair<K, T>(even, odd, scale, min, x, q, terms, g, sum);
    }
    ahead.ask();
  }
  for (int t = 0; t < T && t0 + t < a.T; ++t) {
    float* y = sums.at(t0 + t, n);
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

/// Rows of the output may be far apart: then the sums of a task of so few rows grow side by side, and are copied when they are
/// complete. Measured for q8_0, 8960 x 1536, 512 tokens: 4 % more on one thread.
inline constexpr int64_t kPanelRows = 128;
inline constexpr int64_t kPanelBlock = 128;  // tokens whose terms (64 KB) and activations of a segment (128 KB) stay in L2

/// Weights whose sixteen rows are interleaved already.
template <class F>
struct TileSource {
  static constexpr int kValues = info(F::dtype).block_values;
  const MatMulArgs& a;
  int64_t first, last;

  const std::byte* words(int64_t n, int64_t k) const { return quant::Interleaved<F>::words(a.w + n * a.w_bytes, a.K / kValues, k / kValues); }

  void fill(int64_t n, int64_t begin, int64_t end, Panel& panel) const {
    for (int64_t k = begin; k < end; k += kValues)
      fill_panel<F>(words(n, k), quant::Interleaved<F>::halves(a.w + n * a.w_bytes, a.K / kValues, k / kValues), (k - begin) / 16, panel);
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
    const Sums sums = apart ? Sums{outputs, rows, t0, first} : Sums{a.y, a.N, 0, 0};
    for (int64_t begin = 0; begin < a.K; begin += kSegment) {
      const int64_t end = begin + kSegment < a.K ? begin + kSegment : a.K, groups = (end - begin) / 16;
      for (int64_t t = t0; t < t1; ++t) group_terms<F>(activations(a, t), a.K, begin, groups, kPanelCodes<F>, terms[t - t0]);
      for (int64_t n = first; n < last; n += 16) {
        source.fill(n, begin, end, panel);
        Ahead ahead = source.ahead(n, begin, end, t1 - t0);
        for (int64_t t = t0; t < t1; t += kDirectTokens)
          with_tokens(t1 - t, [&]<int T>() { panel_tokens<KindOf<F>, T>(a, panel, sums, n, begin, groups, t, terms + (t - t0), ahead); });
      }
    }
    for (int64_t t = t0; t < t1 && apart; ++t)
      std::memcpy(a.y + t * a.N + first, outputs + (t - t0) * rows, static_cast<size_t>(rows) * sizeof(float));
  }
}

/// Rows [first, last) of a weight in format F with sixteen rows interleaved; `first` begins a tile.
template <class F>
void lanes_rows(const MatMulArgs& a, int64_t first, int64_t last) {
  if (a.T > kDirectTokens) return lanes_panels<F, TileSource<F>>(a, first, last);
  const bool near = asks_for_streams();
  for (int64_t n = first; n < last; n += 16)
    with_tokens(a.T, [&]<int T>() {
      if constexpr (T <= 2)
        if (!near) return lanes_tile<F, T, false>(a, n, 0, near);
      lanes_tile<F, T, true>(a, n, 0, near);
    });
}

}  // namespace KERF_ISA
}  // namespace kerf::cpu
