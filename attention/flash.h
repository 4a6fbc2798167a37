// Tiled attention for a CPU, written once over a vector type `L` that each instruction set supplies (Lanes concept below).
//
// Work is cut into tiles of query rows (the heads that share one key/value head x neighbouring tokens, so that each key
// and value is loaded once for all of them) and chunks of kChunk keys at fixed positions 0, kChunk, 2 kChunk ... One chunk:
//   scores   S = Q K^T    lanes are keys: kBlock keys are transposed once for all rows; each score is one fma chain over d
//   softmax  P = exp(S - max), and the chunk's State{max, sum}
//   values   O = P V      lanes are head dimensions, V read as stored; each output is one fma chain over the keys
// then (State, O) is merged into the row's total (online_softmax.h), chunk after chunk. What a row gets depends on its own
// query, on the keys it sees and on the fixed chunks, never on the other rows of the tile (a masked key adds exactly 0):
// one token decoded alone has the bits it has in a batch of 512, for any number of threads.
// Dao et al. 2022/2023 (FlashAttention, -2); Dao, Haziza, Massa, Sizov 2023 (Flash-Decoding: chunks as parallel tasks).
#pragma once
#include <array>
#include <cmath>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <type_traits>

#include "attention/online_softmax.h"
#include "attention/spec.h"
#include "core/half.h"

namespace kerf::attention {
inline namespace KERF_ISA {

constexpr int64_t kChunk = 256;    // keys per softmax: long enough to hide the merges, short enough to spread one token over cores
constexpr int64_t kBlock = 64;     // keys transposed at a time: 64 x 128 floats are 32 KiB
constexpr int64_t kTileRows = 64;  // query rows that share a transposed block; its cost is 1/8 of theirs at AVX-512 rates
constexpr int64_t kMaxHeadDim = 512;
constexpr int64_t kMaxCodedHeadDim = 256;  // of a cache whose rows are decoded first

/// What an instruction set supplies: a vector V of `width` floats and how to load it from either cache format.
template <class L>
concept Lanes = requires(typename L::V v, float* out, const float* f, const uint16_t* h, typename L::V* rows) {
  { L::width } -> std::convertible_to<int64_t>;
  { L::max_rows } -> std::convertible_to<int>;  // rows of one register block
  { L::load(f) } -> std::same_as<typename L::V>;
  { L::load(h) } -> std::same_as<typename L::V>;  // binary16
  { L::all(1.f) } -> std::same_as<typename L::V>;
  { L::fma(v, v, v) } -> std::same_as<typename L::V>;
  { L::max(v, v) } -> std::same_as<typename L::V>;            // the second if either is NaN
  { L::round(v) } -> std::same_as<typename L::V>;             // to nearest
  { L::zero_below(v, v, v) } -> std::same_as<typename L::V>;  // (x, limit, y): x < limit ? 0 : y
  { L::times_pow2(v, v) } -> std::same_as<typename L::V>;     // v * 2^n, n integral in [-126, 0]
  L::store(out, v);
  L::transpose(rows);  // width vectors, in place
};

template <class T>
float scalar(T x) {
  if constexpr (std::same_as<T, float>)
    return x;
  else
    return half_to_float(x);
}

/// exp(x) for x <= 0. x = n ln 2 + r, |r| <= ln(2)/2; exp(r) by its Taylor polynomial of degree 7, whose remainder
/// (0.347^8 / 8! = 5e-9) is below half an ulp; ln 2 in two parts (Cody & Waite 1980) keeps r exact to 2^-40 or so.
/// Measured: at most 0.86 ulp (tests/attention). Below: 0, as next to a largest weight of 1.
template <Lanes L>
typename L::V exp_nonpositive(typename L::V x) {
  using V = typename L::V;
  const V floor = L::all(-87.33f);
  const V t = L::max(floor, x), n = L::round(L::mul(t, L::all(1.44269504f)));
  V r = L::fma(n, L::all(-0.693359375f), t);
  r = L::fma(n, L::all(2.12194440e-4f), r);
  V p = L::all(1.f / 5040);
  for (const float c : {1.f / 720, 1.f / 120, 1.f / 24, 1.f / 6, 0.5f, 1.f, 1.f}) p = L::fma(p, r, L::all(c));
  return L::zero_below(x, floor, L::times_pow2(p, n));
}

/// A register block: acc[r][j] = sum_i a[r][i] * b[i][j], i in [begin, end), one fma chain per element, then sink(r, j, acc).
template <Lanes L, int Rows, int Vecs, class B, class Sink>
void block(const float* const* a, const B* b, int64_t stride, int64_t begin, int64_t end, Sink&& sink) {
  using V = typename L::V;
  V acc[Rows][Vecs];  // C arrays: GCC warns of std::array<__m256>
  for (auto& row : acc)
    for (auto& v : row) v = L::all(0.f);
  for (int64_t i = begin; i < end; ++i) {
    V columns[Vecs];
    for (int j = 0; j < Vecs; ++j) columns[j] = L::load(b + i * stride + j * L::width);
    for (int r = 0; r < Rows; ++r) {
      const V factor = L::all(a[r][i]);
      for (int j = 0; j < Vecs; ++j) acc[r][j] = L::fma(factor, columns[j], acc[r][j]);
    }
  }
  for (int r = 0; r < Rows; ++r)
    for (int j = 0; j < Vecs; ++j) sink(r, j * L::width, acc[r][j]);
}

/// Rows x columns of the same product: wide blocks first, then narrower, then the last columns % width one by one.
/// sink(row, column, vector) and last(row, column, float) receive the sums.
template <Lanes L, int Rows, class B, class Sink, class Last>
void strip(const float* const* a, const B* b, int64_t stride, int64_t columns, int64_t begin, int64_t end, Sink&& sink, Last&& last) {
  constexpr int kWide = Rows <= 2 ? 4 : 2;  // few rows need more columns in flight to cover the latency of fma
  int64_t c = 0;
  const auto at = [&](int r, int64_t j, auto v) { sink(r, c + j, v); };
  for (; c + kWide * L::width <= columns; c += kWide * L::width) block<L, Rows, kWide>(a, b + c, stride, begin, end, at);
  for (; c + L::width <= columns; c += L::width) block<L, Rows, 1>(a, b + c, stride, begin, end, at);
  for (; c < columns; ++c)
    for (int r = 0; r < Rows; ++r) {
      float sum = 0;
      for (int64_t i = begin; i < end; ++i) sum = std::fma(a[r][i], scalar(b[i * stride + c]), sum);
      last(r, c, sum);
    }
}

/// strip() for a number of rows known only at run time, 1 .. L::max_rows.
template <Lanes L, int Rows = L::max_rows, class... Args>
void strip_of(int rows, Args&&... args) {
  if constexpr (Rows > 1)
    if (rows < Rows) return strip_of<L, Rows - 1>(rows, args...);
  strip<L, Rows>(args...);
}

/// A cache in any other format: rows are decoded to floats, a block of keys or a chunk of values at a time, for all rows of a
/// tile. `decode` is quant::decode_row's job for one format.
struct Coded {
  const std::byte* rows = nullptr;
  int64_t row_bytes = 0;
  void (*decode)(const void* row, int64_t n, float* out) = nullptr;
};

/// One key/value head's memory, keys and values each [n_ctx, hd]: const float*, const uint16_t* (binary16) or Coded.
template <class K, class V = K>
struct Cache {
  K k{};
  V v{};
  int64_t hd = 0;
};

/// A tile of query rows: where each row's query is, and the keys it sees.
struct Tile {
  int rows = 0;
  float scale = 1;
  std::array<const float*, kTileRows> q{};
  std::array<Range, kTileRows> keys{};

  Range seen(int first, int n, Range chunk) const {  // keys of the chunk that any of the n rows sees
    Range all{chunk.end, chunk.begin};
    for (int r = first; r < first + n; ++r) {
      if (std::max(keys[r].begin, chunk.begin) >= std::min(keys[r].end, chunk.end)) continue;
      all.begin = std::min(all.begin, std::max(keys[r].begin, chunk.begin));
      all.end = std::max(all.end, std::min(keys[r].end, chunk.end));
    }
    return all;
  }
};

/// Memory of one thread inside one task: 192 KiB, on its stack; with a Coded cache 448 KiB.
struct Workspace {
  alignas(64) std::array<float, kMaxHeadDim * kBlock> kt;    // [hd][kBlock]
  alignas(64) std::array<float, kTileRows * kChunk> scores;  // [row][kChunk], then probabilities
};
struct CodedWorkspace : Workspace {
  alignas(64) std::array<float, kMaxCodedHeadDim * kChunk> decoded;  // a block of keys, then a chunk of values: [key][hd]
};
template <class... Side>  // what keys and values in memory of these kinds need
using WorkspaceFor = std::conditional_t<(std::same_as<Side, Coded> || ...), CodedWorkspace, Workspace>;

/// Rows [begin, begin + n) of keys or values as floats in memory: where they are, or decoded.
inline const float* rows_of(const float* p, int64_t begin, int64_t, int64_t hd, const Workspace&) { return p + begin * hd; }
inline const uint16_t* rows_of(const uint16_t* p, int64_t begin, int64_t, int64_t hd, const Workspace&) { return p + begin * hd; }
inline const float* rows_of(const Coded& c, int64_t begin, int64_t n, int64_t hd, CodedWorkspace& work) {
  for (int64_t s = 0; s < n; ++s) c.decode(c.rows + (begin + s) * c.row_bytes, hd, work.decoded.data() + s * hd);
  return work.decoded.data();
}

/// n keys [n, hd] as kt[d][key]; keys past n are left as zeros, dimensions past a multiple of width one by one.
template <Lanes L, class T>
void transpose_keys(const T* keys, int64_t n, int64_t hd, float* kt) {
  constexpr int64_t W = L::width;
  for (int64_t s0 = 0; s0 < kBlock; s0 += W) {
    int64_t d = 0;
    for (; d + W <= hd; d += W) {
      typename L::V rows[W];
      for (int64_t i = 0; i < W; ++i) rows[i] = s0 + i < n ? L::load(keys + (s0 + i) * hd + d) : L::all(0.f);
      L::transpose(rows);
      for (int64_t i = 0; i < W; ++i) L::store(kt + (d + i) * kBlock + s0, rows[i]);
    }
    for (; d < hd; ++d)
      for (int64_t i = 0; i < W; ++i) kt[d * kBlock + s0 + i] = s0 + i < n ? scalar(keys[(s0 + i) * hd + d]) : 0.f;
  }
}

/// scores[row][s - chunk.begin] = scale * q . k_s for the blocks of the chunk that the tile sees.
template <Lanes L, class K, class V>
void score(const Tile& tile, const Cache<K, V>& cache, Range chunk, Range seen, WorkspaceFor<K, V>& work) {
  const auto scale = L::all(tile.scale);
  for (int64_t s = chunk.begin + (seen.begin - chunk.begin) / kBlock * kBlock; s < seen.end; s += kBlock) {
    const int64_t n = std::min(kBlock, seen.end - s);
    transpose_keys<L>(rows_of(cache.k, s, n, cache.hd, work), n, cache.hd, work.kt.data());
    for (int r0 = 0; r0 < tile.rows; r0 += L::max_rows) {
      float* out = work.scores.data() + r0 * kChunk + (s - chunk.begin);
      strip_of<L>(
          std::min(L::max_rows, tile.rows - r0), tile.q.data() + r0, work.kt.data(), kBlock, kBlock, int64_t{0}, cache.hd,
          [&](int r, int64_t c, auto v) { L::store(out + r * kChunk + c, L::mul(v, scale)); }, [](int, int64_t, float) {});
    }
  }
}

/// Scores of one row to probabilities against the chunk's maximum; entries outside `mine` become 0.
template <Lanes L>
State<float> soften(float* scores, Range mine) {
  constexpr float kMasked = -std::numeric_limits<float>::infinity();
  if (mine.begin >= mine.end) {
    for (int64_t s = 0; s < kChunk; ++s) scores[s] = 0;
    return {};
  }
  const int64_t first = mine.begin / L::width * L::width, last = std::min(kChunk, (mine.end + L::width - 1) / L::width * L::width);
  for (int64_t s = first; s < mine.begin; ++s) scores[s] = kMasked;
  for (int64_t s = mine.end; s < last; ++s) scores[s] = kMasked;
  std::array<float, L::width> lanes;
  auto largest = L::all(kMasked);
  for (int64_t s = first; s < mine.end; s += L::width) largest = L::max(largest, L::load(scores + s));
  L::store(lanes.data(), largest);
  float max = kMasked;
  for (const float x : lanes) max = x > max ? x : max;
  const auto shift = L::all(max == kMasked ? 0.f : -max);  // all -inf: their weights are 0, not exp(-inf + inf)
  auto sums = L::all(0.f);
  for (int64_t s = 0; s < kChunk; s += L::width) {
    const auto p = s < first || s >= mine.end ? L::all(0.f) : exp_nonpositive<L>(L::add(L::load(scores + s), shift));
    L::store(scores + s, p);
    sums = L::add(sums, p);
  }
  L::store(lanes.data(), sums);
  float sum = 0;
  for (const float x : lanes) sum += x;
  return {max, sum};
}

/// One chunk for all rows of a tile: out[row] (any memory of hd floats, meaningless while state[row] is empty) and
/// state[row] become those of the keys so far and the keys of this chunk.
template <Lanes L, class K, class V>
void attend_chunk(const Tile& tile, const Cache<K, V>& cache, Range chunk, float* const* out, State<float>* state, WorkspaceFor<K, V>& work) {
  const Range seen = tile.seen(0, tile.rows, chunk);
  if (seen.begin >= seen.end) return;
  score<L>(tile, cache, chunk, seen, work);
  const auto* values = rows_of(cache.v, seen.begin, seen.end - seen.begin, cache.hd, work) - (seen.begin - chunk.begin) * cache.hd;
  for (int r0 = 0; r0 < tile.rows; r0 += L::max_rows) {
    const int rows = std::min(L::max_rows, tile.rows - r0);
    std::array<const float*, L::max_rows> p{};
    std::array<Merged<float>, L::max_rows> merged{};
    std::array<bool, L::max_rows> first{};  // nothing in out yet (a weight that underflowed to 0 is not that: NaN must stay)
    for (int r = 0; r < rows; ++r) {
      float* scores = work.scores.data() + (r0 + r) * kChunk;
      const Range mine{std::max(tile.keys[r0 + r].begin, chunk.begin) - chunk.begin, std::min(tile.keys[r0 + r].end, chunk.end) - chunk.begin};
      p[r] = scores;
      first[r] = state[r0 + r].empty();
      merged[r] = merge(state[r0 + r], soften<L>(scores, mine));
      state[r0 + r] = merged[r].state;
    }
    const Range keys = tile.seen(r0, rows, chunk);
    if (keys.begin >= keys.end) continue;
    strip_of<L>(
        rows, p.data(), values, cache.hd, cache.hd, keys.begin - chunk.begin, keys.end - chunk.begin,
        [&](int r, int64_t c, auto v) {
          float* o = out[r0 + r] + c;
          const auto fresh = L::mul(v, L::all(merged[r].b));
          L::store(o, first[r] ? fresh : L::fma(L::load(static_cast<const float*>(o)), L::all(merged[r].a), fresh));
        },
        [&](int r, int64_t c, float v) {
          float& o = out[r0 + r][c];
          const float fresh = v * merged[r].b;
          o = first[r] ? fresh : std::fma(o, merged[r].a, fresh);
        });
  }
}

}  // namespace KERF_ISA
}  // namespace kerf::attention
