// attention, rung 5: few query rows (decoding) against a long cache, at the speed of memory. A task is 512 keys of one
// key/value head for all query heads of its group, so that the cache is read once; its sums go to scratch and are merged in
// the order of the keys (Flash-Decoding). Against rung 3:
//
//   - keys are not transposed to floats: f32, f16 and bf16 are used as they are loaded, quantized ones as integers (VNNI)
//   - values of quantized caches are used as codes, their scales are folded into the weights, which become integers too (cache_dot_vnni.h)
//   - keys and values are prefetched into L2 by hand, either while the other is in work (Cache)
//
// Arithmetic is f32, with queries of 16 bits where keys are integers, and weights of 15 where values are. Above 8 rows AMX (rung 4)
// does more rows per decoded key.
//
// Measured, 12 query heads on 2 of 128, one token at 2048 keys from memory, two cores of a Zen 4: f16 89 us, q8_0 80, q4_0 71; rung 3
// 206, 356 and 357. Cycles for 16 keys of one head and 6 queries in the caches: f16 1033 for scores and 822 for values, of which 768
// each are multiplications; q8_0 628 and 787, of 384 each. With values as floats, and weights scaled to match, they were 1162.
// A second prefetch into L1, 2 KiB ahead, cost 10 %; 4 KiB ahead, 5 to 18 %.
#include <immintrin.h>

#include <algorithm>

#include "backends/cpu/attention_tiled.h"
#include "backends/cpu/cache_dot_vnni.h"
#include "backends/cpu/simd_rung.h"

namespace kerf::cpu {
namespace {

using attention::kChunk;
using attention::Range;
using attention::State;

constexpr int64_t kAhead = 16384;
constexpr int64_t kPart = 64;                                        // keys whose weights become integers together
constexpr float kLargest = 32766.f;                                  // of these; what rounding adds still fits 16 bits
constexpr int64_t kWeights = kMaxSplitHeadDim / 32 * kMaxSplitRows;  // that a key has, at most: one for each row and block

/// One side of a cache: the rows of one head.
struct Side {
  const std::byte* rows = nullptr;
  int64_t row_bytes = 0;
  int64_t asked = 0;  // bytes from `rows`: what lies before them was asked for, or was there when a task began
  const std::byte* row(int64_t key) const { return rows + key * row_bytes; }
  /// Rows of sixteen keys; those outside `seen` are read as the nearest that is not.
  Sixteen sixteen(int64_t first, Range seen) const {
    Sixteen keys{};
    for (int64_t i = 0; i < 16; ++i) keys.row[i] = row(std::clamp(first + i, seen.begin, seen.end - 1));
    return keys;
  }
  /// Asks for all before byte `end`, lines once each. Into L2: the sixteen buffers of L1 hold too few lines on their way to cover
  /// the latency of memory.
  void ask(int64_t end) {
    for (; asked < end; asked += 64) _mm_prefetch(reinterpret_cast<const char*>(rows + asked), _MM_HINT_T1);
  }
};

/// A head of the cache as a task reads it: scores of a chunk, then its values. Memory works for what comes next: values of the
/// keys that are scored, keys of the chunk after the one whose values are added; and in the first chunk, keys kAhead bytes on.
struct Cache {
  Side keys, values;
  int64_t last = 0;  // the end of what is read at all
  void ask_while_scoring(int64_t key) {
    values.ask(std::min(key, last) * values.row_bytes);
    keys.ask(std::min(key * keys.row_bytes + kAhead, last * keys.row_bytes));
  }
  void ask_while_adding(int64_t key) { keys.ask(std::min(key + kChunk, last) * keys.row_bytes); }
};

struct Workspace {
  Queries q;
  alignas(64) float scores[kMaxSplitRows][kChunk];           // then weights
  alignas(64) float weight[kWeights][kPart];                 // of a part of the keys, times their blocks' scales; [block * rows + row]
  alignas(64) int16_t whole[kWeights][kPart];                // the same as integers
  alignas(64) float unit[kWeights];                          // what one of them counts
  alignas(64) __m512i largest[kWeights];                     // bits of the largest weights, by lane
  alignas(64) float offset[kWeights][16];                    // sums of weights * minimum
  alignas(64) float fresh[kMaxSplitRows][kMaxSplitHeadDim];  // this chunk's sums
};

/// Scores of the keys `seen` of a chunk. Keys at both ends are read again in place of those outside.
template <class F, int R>
void score(const Queries& q, int64_t hd, Cache& cache, Range chunk, Range seen, float (*scores)[kChunk]) {
  for (int64_t s = seen.begin / 16 * 16; s < seen.end; s += 16) {
    __m512 sixteen[R];
    const auto ahead = [&](int i) { cache.ask_while_scoring(s + i + 1); };
    score_sixteen<F, R>(q, hd, cache.keys.sixteen(s, seen), ahead, sixteen);
    for (int r = 0; r < R; ++r) _mm512_store_ps(scores[r] + (s - chunk.begin), sixteen[r]);
  }
}

/// w.fresh[r][16 (first + j)] += sum over the keys `seen` of weight * value, for Vecs vectors of 16 dimensions.
template <class F, int R, int Vecs, bool asks>
void weigh(Workspace& w, Cache& cache, Range chunk, Range seen, int64_t first) {
  __m512 acc[R][Vecs];
  for (int r = 0; r < R; ++r)
    for (int j = 0; j < Vecs; ++j) acc[r][j] = _mm512_load_ps(w.fresh[r] + 16 * (first + j));
  for (int64_t s = seen.begin; s < seen.end; ++s) {
    if constexpr (asks) cache.ask_while_adding(s + 1);
    __m512 v[Vecs];
    for (int j = 0; j < Vecs; ++j) v[j] = numbers<F>(cache.values.row(s), first + j);
    for (int r = 0; r < R; ++r) {
      const __m512 weight = _mm512_set1_ps(w.scores[r][s - chunk.begin]);
      for (int j = 0; j < Vecs; ++j) acc[r][j] = _mm512_fmadd_ps(weight, v[j], acc[r][j]);
    }
  }
  for (int r = 0; r < R; ++r)
    for (int j = 0; j < Vecs; ++j) _mm512_store_ps(w.fresh[r] + 16 * (first + j), acc[r][j]);
}

/// w.fresh = sum of weights * values over the keys `seen` of a chunk.
template <class F, int R>
void gather_floats(Workspace& w, int64_t hd, Cache& cache, Range chunk, Range seen) {
  constexpr int kVecs = R <= 3 ? 8 : R <= 6 ? 4 : 2;  // R * kVecs sums and kVecs values in 32 registers
  for (int r = 0; r < R; ++r) std::fill_n(w.fresh[r], hd, 0.f);
  const auto part = [&]<int Vecs>(int64_t v) {
    v == 0 ? weigh<F, R, Vecs, true>(w, cache, chunk, seen, v) : weigh<F, R, Vecs, false>(w, cache, chunk, seen, v);
  };
  int64_t v = 0;
  for (; v + kVecs <= hd / 16; v += kVecs) part.template operator()<kVecs>(v);
  for (; v < hd / 16; v += 2) part.template operator()<2>(v);
}

/// The weights of n keys from `part` on (a multiple of 16; keys that a row does not see weigh 0), times the scales of their
/// blocks, become integers beside the largest of each row and block. As bits, NaN and infinities are larger than all numbers:
/// their unit then makes the sum NaN.
template <class F, int R>
void scale_weights(Workspace& w, int64_t blocks, const Side& values, Range chunk, Range seen, int64_t part, int64_t n) {
  using Block = typename F::Block;
  const int64_t all = blocks * R;
  for (int64_t i = 0; i < (all + 15) / 16 * 16; ++i) w.largest[i] = _mm512_setzero_si512();
  for (int64_t i = 0; i < n; i += 16) {
    const Sixteen rows = values.sixteen(part + i, seen);
    for (int64_t b = 0; b < blocks; ++b) {
      const int64_t at = b * static_cast<int64_t>(sizeof(Block));
      const __m512 d = halves_of(rows, at);
      __m512 m{};
      if constexpr (F::kHasMin) m = halves_of(rows, at + 2);
      for (int r = 0; r < R; ++r) {
        const __m512 p = _mm512_load_ps(w.scores[r] + (part + i - chunk.begin)), weight = _mm512_mul_ps(p, d);
        const int64_t j = b * R + r;
        _mm512_store_ps(w.weight[j] + i, weight);
        w.largest[j] = _mm512_max_epi32(w.largest[j], _mm512_and_si512(_mm512_castps_si512(weight), _mm512_set1_epi32(0x7FFFFFFF)));
        if constexpr (F::kHasMin) _mm512_store_ps(w.offset[j], _mm512_fmadd_ps(p, m, _mm512_load_ps(w.offset[j])));
      }
    }
  }
  for (int64_t j = 0; j < all; j += 16) {
    Across<Largest> across;
    for (int i = 0; i < 8; ++i) across.put(i, _mm512_castsi512_ps(w.largest[j + 2 * i]), _mm512_castsi512_ps(w.largest[j + 2 * i + 1]));
    _mm512_store_ps(w.unit + j, _mm512_mul_ps(across.total(), _mm512_set1_ps(1 / kLargest)));
  }
  for (int64_t j = 0; j < all; ++j) {
    const __m512 share = _mm512_set1_ps(w.unit[j] > 0x1p-100f ? 1 / w.unit[j] : 0.f);  // the chunk's largest weight is 1: nothing is lost
    for (int64_t i = 0; i < n; i += 16) {
      const __m512i whole = _mm512_cvtps_epi32(_mm512_mul_ps(_mm512_load_ps(w.weight[j] + i), share));
      _mm256_store_si256(reinterpret_cast<__m256i*>(w.whole[j] + i), _mm512_cvtepi32_epi16(whole));
    }
  }
}

/// Adds what n keys from s on contribute to `Blocks` blocks of 32 dimensions.
template <class F, int R, int Blocks, bool asks>
[[gnu::always_inline]] inline void weigh_codes(Workspace& w, Cache& cache, int64_t s, int64_t n, Range seen, int64_t first) {
  __m512i acc[Blocks][R][2];
  for (int j = 0; j < Blocks; ++j)
    for (int r = 0; r < R; ++r) acc[j][r][0] = acc[j][r][1] = _mm512_setzero_si512();
  for (int64_t i = 0; i < n; i += 2) {
    if constexpr (asks) cache.ask_while_adding(s + i + 2);
    const auto row = [&](int64_t key) { return cache.values.row(std::clamp(key, seen.begin, seen.end - 1)); };
    const std::byte *even = row(s + i), *odd = row(s + i + 1);
    for (int j = 0; j < Blocks; ++j) {
      const CodePairs codes = code_pairs<F>(even, odd, first + j);
      const int16_t* weight = w.whole[(first + j) * R] + i;
      __asm__("" : "+r"(weight));  // one address, not R of them in registers
      for (int r = 0; r < R; ++r) {
        int32_t two;
        std::memcpy(&two, weight + kPart * r, sizeof two);
        const __m512i weights = _mm512_set1_epi32(two);
        acc[j][r][0] = _mm512_dpwssd_epi32(acc[j][r][0], codes.lanes[0], weights);
        acc[j][r][1] = _mm512_dpwssd_epi32(acc[j][r][1], codes.lanes[1], weights);
      }
    }
  }
  for (int r = 0; r < R; ++r)
    for (int j = 0; j < Blocks; ++j) {
      float* out = w.fresh[r] + 32 * (first + j);
      const __m512 one = _mm512_set1_ps(w.unit[(first + j) * R + r]);
      const __m512i a = acc[j][r][0], b = acc[j][r][1];
      const __m512i low = _mm512_shuffle_i64x2(a, b, 0x44), high = _mm512_shuffle_i64x2(a, b, 0xEE);
      _mm512_store_ps(out, _mm512_fmadd_ps(_mm512_cvtepi32_ps(low), one, _mm512_load_ps(out)));
      _mm512_store_ps(out + 16, _mm512_fmadd_ps(_mm512_cvtepi32_ps(high), one, _mm512_load_ps(out + 16)));
    }
}

/// gather_floats for coded values.
template <class F, int R>
void gather_codes(Workspace& w, int64_t hd, Cache& cache, Range chunk, Range seen) {
  constexpr int kBlocks = R <= 3 ? 4 : R <= 4 ? 2 : 1;  // 2 R kBlocks sums in registers: of 24, GCC 12 keeps some in memory
  const int64_t blocks = hd / 32;
  if constexpr (F::kHasMin) std::memset(w.offset, 0, sizeof w.offset);
  for (int r = 0; r < R; ++r) std::fill_n(w.fresh[r], hd, 0.f);
  for (int64_t part = seen.begin / kPart * kPart; part < seen.end; part += kPart) {
    const int64_t n = std::min(kPart, (seen.end - part + 15) / 16 * 16), used = std::min(n, seen.end - part);
    scale_weights<F, R>(w, blocks, cache.values, chunk, seen, part, n);
    const auto some = [&]<int Blocks>(int64_t b) {
      b == 0 ? weigh_codes<F, R, Blocks, true>(w, cache, part, used, seen, b) : weigh_codes<F, R, Blocks, false>(w, cache, part, used, seen, b);
    };
    int64_t b = 0;
    for (; b + kBlocks <= blocks; b += kBlocks) some.template operator()<kBlocks>(b);
    for (; b < blocks; ++b) some.template operator()<1>(b);
  }
  if constexpr (F::kHasMin)
    for (int r = 0; r < R; ++r)
      for (int64_t b = 0; b < blocks; ++b) {
        const float add = _mm512_reduce_add_ps(_mm512_load_ps(w.offset[b * R + r]));
        for (int64_t d = 32 * b; d < 32 * b + 32; ++d) w.fresh[r][d] += add;
      }
}

template <class F, int R>
void gather(Workspace& w, int64_t hd, Cache& cache, Range chunk, Range seen) {
  if constexpr (kCoded<F>)
    gather_codes<F, R>(w, hd, cache, chunk, seen);
  else
    gather_floats<F, R>(w, hd, cache, chunk, seen);
}

using Score = void (*)(const Queries&, int64_t, Cache&, Range, Range, float (*)[kChunk]);
using Gather = void (*)(Workspace&, int64_t, Cache&, Range, Range);
using Pack = void (*)(const float* const*, int64_t, int64_t, float, Queries&);
struct Routines {
  int rows = 0;  // that these are for
  Pack pack = nullptr;
  Score score = nullptr;
  Gather gather = nullptr;
};

/// The routines for at least n rows; rows in excess are zeros.
template <int R>
Routines routines_of(DType k, DType v) {
  Routines f{.rows = R};
  CacheFormats::visit(k, [&]<class F>(F) { f.pack = pack_queries<F>, f.score = score<F, R>; });
  CacheFormats::visit(v, [&]<class F>(F) { f.gather = gather<F, R>; });
  return f;
}
Routines routines(int64_t n, DType k, DType v) {
  return n <= 1   ? routines_of<1>(k, v)
         : n <= 2 ? routines_of<2>(k, v)
         : n <= 3 ? routines_of<3>(k, v)
         : n <= 4 ? routines_of<4>(k, v)
         : n <= 6 ? routines_of<6>(k, v)
                  : routines_of<8>(k, v);
}

/// Up to 8 rows of one group.
struct Rows {
  int64_t n = 0;
  const float* q[kMaxSplitRows] = {};
  Range keys[kMaxSplitRows] = {};
  float* out[kMaxSplitRows] = {};  // sums of this task
  State<float>* state[kMaxSplitRows] = {};
};

/// The keys of `part` (a number of whole chunks) for up to 8 rows: their sums and states.
void attend(const AttentionShape& s, const Routines& f, const Rows& rows, Cache& cache, Range part) {
  Workspace w;
  f.pack(rows.q, f.rows, s.hd, s.scale, w.q);
  for (int64_t c = part.begin; c < part.end; c += kChunk) {
    const Range chunk{c, std::min(c + kChunk, part.end)};
    Range seen{chunk.end, chunk.begin};
    for (int64_t r = 0; r < rows.n; ++r) {
      const Range mine{std::max(rows.keys[r].begin, chunk.begin), std::min(rows.keys[r].end, chunk.end)};
      if (mine.begin < mine.end) seen = {std::min(seen.begin, mine.begin), std::max(seen.end, mine.end)};
    }
    if (seen.begin >= seen.end) continue;
    f.score(w.q, s.hd, cache, chunk, seen, w.scores);
    attention::Merged<float> merged[kMaxSplitRows];
    bool first[kMaxSplitRows] = {};
    for (int64_t r = 0; r < f.rows; ++r) {
      if (r >= rows.n) {
        std::fill_n(w.scores[r], kChunk, 0.f);
        continue;
      }
      const Range mine{std::max(rows.keys[r].begin, chunk.begin) - c, std::min(rows.keys[r].end, chunk.end) - c};
      first[r] = rows.state[r]->empty();
      merged[r] = attention::merge(*rows.state[r], attention::soften<Avx512>(w.scores[r], mine));
      *rows.state[r] = merged[r].state;
    }
    f.gather(w, s.hd, cache, chunk, seen);
    for (int64_t r = 0; r < rows.n; ++r)
      for (int64_t d = 0; d < s.hd; ++d)
        rows.out[r][d] = first[r] ? w.fresh[r][d] * merged[r].b : std::fma(rows.out[r][d], merged[r].a, w.fresh[r][d] * merged[r].b);
  }
}

void run(const Problem& p, const Call& call) {
  const AttentionShape s = attention_shape(p);
  const auto* positions = call.in[3].as<const int32_t>();
  int64_t last = 0, begin = s.n_ctx;
  for (int64_t t = 0; t < s.T; ++t) {
    const Range mine = attention::visible_keys(positions[t], s.window);
    begin = std::min(begin, mine.begin), last = std::max(last, mine.end);
  }
  const int64_t all = s.T * s.H, group = s.T * s.group, base = begin / kSplitKeys, parts = (last + kSplitKeys - 1) / kSplitKeys - base;
  auto* sums = reinterpret_cast<float*>(call.scratch.data());  // [part][t * H + h][hd], then the states
  auto* states = reinterpret_cast<State<float>*>(sums + parts * all * s.hd);
  const auto index = [&](int64_t kv, int64_t r) { return r / s.group * s.H + kv * s.group + r % s.group; };  // t * H + h
  call.pool.parallel_for(s.n_kv * parts, [&](int64_t i) {
    const int64_t kv = i / parts, part = i % parts;
    const int64_t first = (base + part) * kSplitKeys;
    const auto side = [&](const TensorView& of) { return Side{.rows = of.row<const std::byte>(kv * s.n_ctx), .row_bytes = of.desc.row_bytes()}; };
    Cache cache{.keys = side(call.in[1]), .values = side(call.in[2]), .last = last};
    const int64_t seen = std::max(first, begin);  // nothing is asked for that lies before a window
    cache.keys.asked = seen * cache.keys.row_bytes + kAhead;
    cache.values.asked = seen * cache.values.row_bytes;
    for (int64_t r0 = 0; r0 < group; r0 += kMaxSplitRows) {
      Rows rows{.n = std::min(kMaxSplitRows, group - r0)};
      for (int64_t r = 0; r < rows.n; ++r) {
        const int64_t at = index(kv, r0 + r);
        rows.q[r] = call.in[0].as<const float>() + at * s.hd;
        rows.keys[r] = attention::visible_keys(positions[(r0 + r) / s.group], s.window);
        rows.out[r] = sums + (part * all + at) * s.hd;
        rows.state[r] = states + part * all + at;
        *rows.state[r] = {};
      }
      attend(s, routines(rows.n, p.in[1].dtype, p.in[2].dtype), rows, cache, {first, std::min(first + kSplitKeys, last)});
    }
  });
  call.pool.parallel_for(s.n_kv, [&](int64_t kv) {
    for (int64_t r = 0; r < group; ++r) {
      const int64_t row = index(kv, r);
      State<float> state;
      float* out = call.out[0].as<float>() + row * s.hd;
      for (int64_t part = 0; part < parts; ++part) {
        const auto& other = states[part * all + row];
        if (other.empty()) continue;  // saw nothing here: its sums were never written
        const auto merged = attention::merge(state, other);
        const float* fresh = sums + (part * all + row) * s.hd;
        for (int64_t d = 0; d < s.hd; ++d) out[d] = state.empty() ? fresh[d] * merged.b : std::fma(out[d], merged.a, fresh[d] * merged.b);
        state = merged.state;
      }
      for (int64_t d = 0; d < s.hd; ++d) out[d] /= state.sum;
    }
  });
}

}  // namespace

void attention_5_split_vnni(Registry::Adder registry);
void attention_5_split_vnni(Registry::Adder registry) {
  add_rung(registry, {.op = Attention::name,
                      .variant = "5_split.vnni",
                      .improves = "3_tiled.avx512",
                      .note = "few rows: the cache is read once in its own format, integer products for quantized keys, prefetched by hand",
                      .preference = 5,
                      .isa = Isa::vnni,
                      .unit = 0x1p-14,
                      .accepts = attention_split_accepts,
                      .run = run,
                      .scratch_bytes = attention_split_scratch});
}

}  // namespace kerf::cpu
