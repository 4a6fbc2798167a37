// attention, rung 5: few query rows (decoding) against a long cache, at the speed of memory. A task is 512 keys of one
// key/value head for all query heads of its group, so that the cache is read once; its sums go to scratch and are merged in
// the order of the keys (Flash-Decoding). Against rung 3:
//
//   - keys are not transposed to floats: f32, f16 and bf16 are used as they are loaded, quantized ones as integers (VNNI)
//   - values of quantized caches are used as codes, their scales are folded into the weights (cache_dot_vnni.h)
//   - keys and values are prefetched into L2 by hand, 16 KiB ahead of their use, up to the last visible one
//
// Arithmetic is f32, with queries of 16 bits where keys are integers. Above 8 rows AMX (rung 4) does more rows per decoded key.
// Measured on one core (Xeon, model 207, 17 GB/s of reading), 12 query heads on 2 of 128, one token at 8192 keys from memory: f16
// 1.02 ms, 8.2 GB/s, rung 3 1.53 ms; q8_0 0.82 ms, rung 3 3.2 ms; 1024 keys in the caches 70 us either way: as much work as
// memory traffic, and half of either is not hidden behind the other. A second prefetch into L1, 2 KiB ahead, cost 10 %.
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
constexpr int64_t kPart = 64;  // keys whose scaled weights are made at a time: 8 rows x 8 blocks x 64 are 16 KiB

/// One side of a cache: the rows of one head.
struct Side {
  const std::byte* rows = nullptr;
  int64_t row_bytes = 0;
  const std::byte* row(int64_t key) const { return rows + key * row_bytes; }
  /// Rows of sixteen keys; those outside `seen` are read as the nearest that is not.
  Sixteen sixteen(int64_t first, Range seen) const {
    Sixteen keys{};
    for (int64_t i = 0; i < 16; ++i) keys.row[i] = row(std::clamp(first + i, seen.begin, seen.end - 1));
    return keys;
  }
  /// Asks for the row that is read kAhead bytes after this one. Into L2: the sixteen buffers of L1 hold too few lines on their
  /// way to cover the latency of memory.
  void prefetch(int64_t key, int64_t end) const {
    const int64_t later = key + kAhead / row_bytes;
    if (later >= end) return;
    const auto* at = reinterpret_cast<const char*>(row(later));
    for (int64_t i = 0; i < row_bytes; i += 64) _mm_prefetch(at + i, _MM_HINT_T1);
  }
};

struct Workspace {
  Queries q;
  alignas(64) float scores[kMaxSplitRows][kChunk];  // then weights
  alignas(64) float scaled[kMaxSplitHeadDim / 32][kMaxSplitRows][kPart];
  alignas(64) float offset[kMaxSplitRows][kMaxSplitHeadDim / 32][16];  // sums of weights * what a whole block adds
  alignas(64) float fresh[kMaxSplitRows][kMaxSplitHeadDim];            // this chunk's sums
};

/// Scores of the keys `seen` of a chunk; `last` is the end of what is read later. Keys at both ends are read again in place of those outside.
template <class F, int R>
void score(const Queries& q, int64_t hd, const Side& keys, int64_t last, Range chunk, Range seen, float (*scores)[kChunk]) {
  for (int64_t s = seen.begin / 16 * 16; s < seen.end; s += 16) {
    __m512 sixteen[R];
    const auto ahead = [&](int i) { keys.prefetch(s + i, last); };
    score_sixteen<F, R>(q, hd, keys.sixteen(s, seen), ahead, sixteen);
    for (int r = 0; r < R; ++r) _mm512_store_ps(scores[r] + (s - chunk.begin), sixteen[r]);
  }
}

/// out[r][16 (first + j)] += sum over n keys of weight * value, for Vecs vectors of 16 dimensions.
template <class F, int R, int Vecs, class Weight, class Ahead>
void weigh(const Side& values, Range keys, int64_t first, Weight&& weight, Ahead&& ahead, float (*out)[kMaxSplitHeadDim]) {
  __m512 acc[R][Vecs];
  for (int r = 0; r < R; ++r)
    for (int j = 0; j < Vecs; ++j) acc[r][j] = _mm512_load_ps(out[r] + 16 * (first + j));
  for (int64_t s = keys.begin; s < keys.end; ++s) {
    ahead(s);
    __m512 v[Vecs];
    for (int j = 0; j < Vecs; ++j) v[j] = numbers<F>(values.row(s), first + j);
    for (int r = 0; r < R; ++r)
      for (int j = 0; j < Vecs; j += 2) {
        const __m512 w = _mm512_set1_ps(*weight(r, (first + j) / 2, s));
        acc[r][j] = _mm512_fmadd_ps(w, v[j], acc[r][j]);
        acc[r][j + 1] = _mm512_fmadd_ps(w, v[j + 1], acc[r][j + 1]);
      }
  }
  for (int r = 0; r < R; ++r)
    for (int j = 0; j < Vecs; ++j) _mm512_store_ps(out[r] + 16 * (first + j), acc[r][j]);
}

/// w.fresh = sum of weights * values over the keys `seen` of a chunk.
template <class F, int R>
void gather(Workspace& w, int64_t hd, const Side& values, int64_t last, Range chunk, Range seen) {
  constexpr int kVecs = R <= 3 ? 8 : R <= 6 ? 4 : 2;                       // R * kVecs sums and kVecs values in 32 registers
  constexpr bool kShifted = kCoded<F> && !std::is_same_v<F, quant::Q8_0>;  // codes from 0 up: a block adds m, or -kOffset d
  if constexpr (kShifted) std::memset(w.offset, 0, sizeof w.offset);
  for (int r = 0; r < R; ++r) std::fill_n(w.fresh[r], hd, 0.f);
  for (int64_t part = seen.begin / 16 * 16; part < seen.end; part += kPart) {
    const Range keys{std::max(part, seen.begin), std::min(part + kPart, seen.end)};
    if constexpr (kCoded<F>) {
      using Block = typename F::Block;
      for (int64_t s = part; s < keys.end; s += 16) {
        const Sixteen rows = values.sixteen(s, seen);
        for (int64_t b = 0; b < hd / 32; ++b) {
          const int64_t block = b * static_cast<int64_t>(sizeof(Block));
          const __m512 d = halves_of(rows, block);
          __m512 shift = _mm512_mul_ps(d, _mm512_set1_ps(static_cast<float>(-F::kOffset)));
          if constexpr (F::kHasMin) shift = halves_of(rows, block + 2);
          for (int r = 0; r < R; ++r) {
            const __m512 p = _mm512_load_ps(w.scores[r] + (s - chunk.begin));
            _mm512_store_ps(w.scaled[b][r] + (s - part), _mm512_mul_ps(p, d));
            if constexpr (kShifted) _mm512_store_ps(w.offset[r][b], _mm512_fmadd_ps(p, shift, _mm512_load_ps(w.offset[r][b])));
          }
        }
      }
    }
    const auto weight = [&](int r, int64_t b, int64_t s) -> const float* {
      if constexpr (kCoded<F>)
        return w.scaled[b][r] + (s - part);
      else
        return w.scores[r] + (s - chunk.begin);
    };
    const auto ahead = [&](int64_t s) { values.prefetch(s, last); };
    const auto nothing = [](int64_t) {};
    int64_t v = 0;
    for (; v + kVecs <= hd / 16; v += kVecs)
      v == 0 ? weigh<F, R, kVecs>(values, keys, v, weight, ahead, w.fresh) : weigh<F, R, kVecs>(values, keys, v, weight, nothing, w.fresh);
    for (; v < hd / 16; v += 2) weigh<F, R, 2>(values, keys, v, weight, nothing, w.fresh);
  }
  if constexpr (kShifted)
    for (int r = 0; r < R; ++r)
      for (int64_t b = 0; b < hd / 32; ++b) {
        const float add = _mm512_reduce_add_ps(_mm512_load_ps(w.offset[r][b]));
        for (int64_t d = 32 * b; d < 32 * b + 32; ++d) w.fresh[r][d] += add;
      }
}

using Score = void (*)(const Queries&, int64_t, const Side&, int64_t, Range, Range, float (*)[kChunk]);
using Gather = void (*)(Workspace&, int64_t, const Side&, int64_t, Range, Range);
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
void attend(const AttentionShape& s, const Routines& f, const Rows& rows, const Side& k, const Side& v, Range part, int64_t last) {
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
    f.score(w.q, s.hd, k, last, chunk, seen, w.scores);
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
    f.gather(w, s.hd, v, last, chunk, seen);
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
    const Side k{call.in[1].row<const std::byte>(kv * s.n_ctx), call.in[1].desc.row_bytes()};
    const Side v{call.in[2].row<const std::byte>(kv * s.n_ctx), call.in[2].desc.row_bytes()};
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
      const int64_t first = (base + part) * kSplitKeys;
      attend(s, routines(rows.n, p.in[1].dtype, p.in[2].dtype), rows, k, v, {first, std::min(first + kSplitKeys, last)}, last);
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
