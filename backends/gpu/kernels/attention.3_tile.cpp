// attention of many tokens on matrix units: FlashAttention-2 (Dao 2023). A block has 64 query rows of one key/value head, tokens times
// the heads that share it, and goes through the keys that any of them sees, a tile at a time:
//   S = Q K^T           queries stay in registers
//   P = 2^(S - max)     masked, with the maximum and sum of each row so far
//   O = O factor + P V  P goes through shared memory, from the layout of sums to that of operands
// Tiles begin at multiples of their size and a row does nothing but add zeros where it sees no key: its bits do not depend on the rest of
// the block.
#include <algorithm>

#include "backends/gpu/kernels/cache_rows.h"
#include "quant/encode.h"

namespace kerf::KERF_GPU_NS {
namespace {

constexpr int kThreads = 128;
constexpr int kRows = 64;
constexpr int kWaveTiles = kRows / 16 / (kThreads / kWave);  // tiles of 16 rows that a wave has
constexpr int kPad = 8;                                      // rows of shared memory begin 16 bytes apart from a multiple of 128

/// A cache in f16 is multiplied as it is. Queries are scaled by a power of two to 2^14 at most, and weights to 2^15: f16 has 29 binary
/// orders of normal numbers below 2^15, and 14 below 1.
struct HalfCache {
  static constexpr bool is_half = true;
  static constexpr float weight_shift = 15;
  KERF_DEVICE static uint16_t bits(float x) { return to_half(x); }
  KERF_DEVICE static void multiply(Sums& c, const Tile16& a, const Tile16& b) { mma_f16(c, a, b); }
};
/// Others in bf16, whose range is theirs. Rounding a random key and query to 8 bits moves a score by 2^-9 of its deviation or so; q8_0, the
/// finest of the coded formats, moved it by three times that already.
struct OtherCache {
  static constexpr bool is_half = false;
  static constexpr float weight_shift = 0;
  KERF_DEVICE static uint16_t bits(float x) { return float_to_bf16(x); }
  KERF_DEVICE static void multiply(Sums& c, const Tile16& a, const Tile16& b) { mma_bf16(c, a, b); }
};

/// The power of two that brings `largest` to [2^14, 2^15), or near it: 2^13 to 2^126 have an inverse that is a normal number too.
KERF_DEVICE float power_for(float largest) {
  const auto exponent = static_cast<int>(std::bit_cast<uint32_t>(largest) >> 23);  // biased by 127; that of the power is 127 + 14 + 127 - it
  const int power = 268 - exponent;
  return std::bit_cast<float>(static_cast<uint32_t>(largest == 0 ? 127 : power > 253 ? 253 : power) << 23);
}

template <class Cache, int HD>
struct Shared {
  static constexpr int keys = HD > 128 ? 32 : 64;
  static constexpr int stride = HD + kPad, weight_stride = keys + kPad;
  static constexpr int staged = std::max(2 * keys, kRows);  // rows: keys and values, before them the queries
};

/// Keys from `begin` to before `end`. In 32 bits: registers are scarce here.
struct Span {
  int begin, end;
};

/// Query rows of a block: row r is token r / group and head r % group of those that share the key/value head.
struct RowIndex {
  int64_t first, count;
  int group, kv;
  KERF_DEVICE bool exists(int r) const { return first + r < count; }
  KERF_DEVICE int64_t token(int r) const { return (first + r) / group; }
  KERF_DEVICE int head(int r) const { return kv * group + static_cast<int>((first + r) % group); }
};

/// Queries to shared memory, a warp per row; scales[r] is what scores are multiplied by.
template <class Cache, int HD>
KERF_DEVICE void stage_queries(const AttentionArgs& a, const RowIndex& rows, uint16_t (*staged)[HD + kPad], float* scales) {
  for (int r = static_cast<int>(warp()); r < kRows; r += kThreads / kLanes) {
    float x[HD / kLanes], largest = 0;
    KERF_UNROLL
    for (int j = 0; j < HD / kLanes; ++j) {
      const int d = static_cast<int>(lane()) + j * kLanes;
      x[j] = rows.exists(r) && d < a.hd ? a.q[a.at(rows.token(r), rows.head(r)) + d] : 0.f;
      largest = larger(fabsf(x[j]), largest);
    }
    const float power = Cache::is_half ? power_for(warp_max(largest)) : 1.f;
    KERF_UNROLL
    for (int j = 0; j < HD / kLanes; ++j) staged[r][lane() + j * kLanes] = Cache::bits(x[j] * power);
    if (lane() == 0) scales[r] = a.scale * kLog2e / power;
  }
}

/// Eight values of a row as 16 bits each.
template <class F>
KERF_DEVICE Words4 convert8(const std::byte* row, int d) {
  float x[8];
  load8<F>(row, d, x);
  Words4 words;
  KERF_UNROLL
  for (int i = 0; i < 4; ++i) words.w[i] = OtherCache::bits(x[2 * i]) | static_cast<uint32_t>(OtherCache::bits(x[2 * i + 1])) << 16;
  return words;
}

/// Rows s0 ... of a cache to shared memory; zeros where nobody of the block looks, since nothing is known of what lies there.
template <class Cache, int HD, int keys>
KERF_DEVICE void stage_rows(const CacheRows& cache, int s0, Span seen, int hd, uint16_t (*staged)[HD + kPad]) {
  const auto each = [&](auto&& copy) {
    for (int i = static_cast<int>(thread_x()); i < keys * (HD / 8); i += kThreads) {
      const int key = i / (HD / 8), d = i % (HD / 8) * 8;
      const int s = s0 + key;
      if (s >= seen.begin && s < seen.end && d < hd)
        copy(&staged[key][d], cache.row(s), d);
      else
        *reinterpret_cast<Words4*>(&staged[key][d]) = {};
    }
  };
  if constexpr (Cache::is_half)
    each([](uint16_t* to, const std::byte* row, int d) { copy_async16(to, row + 2 * d); });
  else
    with_format(cache.dtype,
                [&]<class F>(F) { each([](uint16_t* to, const std::byte* row, int d) { *reinterpret_cast<Words4*>(to) = convert8<F>(row, d); }); });
  copy_commit();
}

/// What a wave has of 16 rows. A lane's part of `max` and `sum` is one number for each of its elements of a tile, that of the row.
template <int HD>
struct WaveRows {
  Tile16 q[HD / 16];
  Sums out[HD / 16], max, sum;
};

/// Scores to weights, and what was summed so far to the new maximum.
template <class Cache, int HD, int keys>
KERF_DEVICE void soften(WaveRows<HD>& rows, Sums (&s)[keys / 16]) {
  Sums max = rows.max, factor;
  KERF_UNROLL
  for (int j = 0; j < keys / 16; ++j) {
    KERF_UNROLL
    for (int e = 0; e < Sums::n; ++e) max.e[e] = larger(max.e[e], s[j].e[e]);
  }
  row_max(max);
  KERF_UNROLL
  for (int e = 0; e < Sums::n; ++e) {
    factor.e[e] = weight_of(rows.max.e[e], max.e[e]);
    rows.sum.e[e] *= factor.e[e];
  }
  rows.max = max;
  KERF_UNROLL
  for (int j = 0; j < keys / 16; ++j) {
    KERF_UNROLL
    for (int e = 0; e < Sums::n; ++e) rows.sum.e[e] += s[j].e[e] = weight_of(s[j].e[e], max.e[e] - Cache::weight_shift);
  }
  KERF_UNROLL
  for (int j = 0; j < HD / 16; ++j) {
    KERF_UNROLL
    for (int e = 0; e < Sums::n; ++e) rows.out[j].e[e] *= factor.e[e];
  }
}

template <class Cache, int HD>
KERF_GLOBAL(kThreads)
attend_tiles(AttentionArgs a) {
  using Layout = Shared<Cache, HD>;
  constexpr int keys = Layout::keys;
  KERF_SHARED(Words4, memory, [Layout::staged * Layout::stride / 8]);
  KERF_SHARED(Words4, weight_memory, [kRows * Layout::weight_stride / 8]);
  KERF_SHARED(float, scales, [kRows]);
  KERF_SHARED(Span, visible, [kRows]);
  auto* staged = reinterpret_cast<uint16_t(*)[Layout::stride]>(&memory[0]);
  auto* weights = reinterpret_cast<uint16_t(*)[Layout::weight_stride]>(&weight_memory[0]);
  auto *staged_keys = staged, *staged_values = staged + keys;

  // Later tokens see more keys: their blocks begin first.
  const RowIndex index{.first = static_cast<int64_t>(blocks_x() - 1 - block_x()) * kRows,
                       .count = static_cast<int64_t>(a.T) * a.group,
                       .group = a.group,
                       .kv = static_cast<int>(block_y())};
  const CacheRows k = a.k.head(index.kv), v = a.v.head(index.kv);
  stage_queries<Cache, HD>(a, index, staged, scales);
  if (const int r = static_cast<int>(thread_x()); r < kRows) {
    const attention::Range mine = index.exists(r) ? a.keys(index.token(r)) : attention::Range{};
    visible[r] = {static_cast<int>(mine.begin), static_cast<int>(mine.end)};
  }
  block_sync();

  const int first_row = static_cast<int>(thread_x()) / kWave * kWaveTiles * 16;
  WaveRows<HD> rows[kWaveTiles];
  KERF_UNROLL
  for (int r = 0; r < kWaveTiles; ++r) {
    KERF_UNROLL
    for (int j = 0; j < HD / 16; ++j) {
      load_a(rows[r].q[j], &staged[first_row + 16 * r][16 * j], Layout::stride);
      rows[r].out[j] = {};
    }
    rows[r].sum = {};
    KERF_UNROLL
    for (int e = 0; e < Sums::n; ++e) rows[r].max.e[e] = kNothing;
  }
  Span seen = visible[0], common = seen;  // by any row, and by all that there are
  for (int r = 1; r < kRows && index.exists(r); ++r) {
    seen = {std::min(seen.begin, visible[r].begin), std::max(seen.end, visible[r].end)};
    common = {std::max(common.begin, visible[r].begin), std::min(common.end, visible[r].end)};
  }
  block_sync();

  int s0 = seen.begin / keys * keys;
  stage_rows<Cache, HD, keys>(k, s0, seen, a.hd, staged_keys);
  for (; s0 < seen.end; s0 += keys) {
    stage_rows<Cache, HD, keys>(v, s0, seen, a.hd, staged_values);
    copy_wait<1>();
    block_sync();
    Sums s[kWaveTiles][keys / 16] = {};
    KERF_UNROLL
    for (int j = 0; j < keys / 16; ++j) {
      KERF_UNROLL
      for (int i = 0; i < HD / 16; ++i) {
        Tile16 b;
        load_b(b, &staged_keys[16 * j][16 * i], Layout::stride);
        KERF_UNROLL
        for (int r = 0; r < kWaveTiles; ++r) Cache::multiply(s[r][j], rows[r].q[i], b);
      }
    }
    block_sync();
    stage_rows<Cache, HD, keys>(k, s0 + keys, seen, a.hd, staged_keys);
    const bool masks = s0 < common.begin || s0 + keys > common.end;
    KERF_UNROLL
    for (int r = 0; r < kWaveTiles; ++r) {
      const int first = first_row + 16 * r;
      KERF_UNROLL
      for (int j = 0; j < keys / 16; ++j) {
        for_each(s[r][j], [&](int row, int, float& x) { x *= scales[first + row]; });
        if (masks)
          for_each(s[r][j], [&](int row, int column, float& x) {
            const int key = s0 + 16 * j + column;
            const Span sees = visible[first + row];
            if (key < sees.begin || key >= sees.end) x = kNothing;
          });
      }
      soften<Cache, HD, keys>(rows[r], s[r]);
      KERF_UNROLL
      for (int j = 0; j < keys / 16; ++j)
        for_each(s[r][j], [&](int row, int column, float& x) { weights[first + row][16 * j + column] = Cache::bits(x); });
    }
    copy_wait<1>();
    block_sync();
    KERF_UNROLL
    for (int i = 0; i < keys / 16; ++i) {
      Tile16 p[kWaveTiles];
      KERF_UNROLL
      for (int r = 0; r < kWaveTiles; ++r) load_a(p[r], &weights[first_row + 16 * r][16 * i], Layout::weight_stride);
      KERF_UNROLL
      for (int j = 0; j < HD / 16; ++j) {
        Tile16 b;
        load_bt(b, &staged_values[16 * i][16 * j], Layout::stride);
        KERF_UNROLL
        for (int r = 0; r < kWaveTiles; ++r) Cache::multiply(rows[r].out[j], p[r], b);
      }
    }
    block_sync();
  }

  KERF_UNROLL
  for (int r = 0; r < kWaveTiles; ++r) {
    row_sum(rows[r].sum);
    KERF_UNROLL
    for (int j = 0; j < HD / 16; ++j) {
      KERF_UNROLL
      for (int e = 0; e < Sums::n; ++e) rows[r].out[j].e[e] /= rows[r].sum.e[e];
      for_each(rows[r].out[j], [&](int row, int column, float& x) {
        const int i = first_row + 16 * r + row, d = 16 * j + column;
        if (index.exists(i) && d < a.hd) a.out[a.at(index.token(i), index.head(i)) + d] = x;
      });
    }
  }
}

template <class Cache>
void run(const Problem& p, const Call& call) {
  const AttentionArgs a = attention_args(p, call);
  const auto kernel = a.hd <= 64    ? attend_tiles<Cache, 64>
                      : a.hd <= 96  ? attend_tiles<Cache, 96>
                      : a.hd <= 128 ? attend_tiles<Cache, 128>
                                    : attend_tiles<Cache, 256>;
  const unsigned n_kv = static_cast<unsigned>(a.n_head / a.group);
  launch(call, {.kernel = "attend_tiles", .blocks = {blocks_for(int64_t{a.T} * a.group, kRows), n_kv}, .threads = kThreads}, kernel, a);
}

/// Fewer than 64 values would be mostly zeros, and tokens that do not fill a tile of 16 rows are better served by splits of the keys.
Support fits(const Problem& p) {
  const int64_t hd = p.in[1].cols();
  if (hd < 64 || hd > 256 || hd % 8 != 0) return {"the head is no multiple of 8 from 64 to 256 values"};
  if (p.in[1].shape[2] >= int64_t{1} << 30) return {"positions do not fit 30 bits"};
  return require(p.in[0].rows() > 8, "8 tokens or fewer");
}
Support fits_half(const Problem& p) {
  if (p.in[1].dtype != DType::f16 || p.in[2].dtype != DType::f16) return {"keys or values are not f16"};
  return fits(p);
}
Support fits_other(const Problem& p) {
  for (const DType t : {p.in[1].dtype, p.in[2].dtype})
    if (t == DType::f32 || !quant::is_cache_type(t)) return {"keys or values are not f16, bf16, q8_0, q5_1, q5_0, q4_1 or q4_0"};
  if (fits_half(p)) return {"a cache in f16 is not rounded to bf16"};
  return fits(p);
}

}  // namespace

void attention_3_tile(Registry::Adder registry) {
  registry.add({.op = Attention::name,
                .variant = "f16.3_tile",
                .improves = "1_plain",
                .note = "64 query rows share each tile of keys and values, which matrix units multiply in f16 while the next is on its way",
                .preference = 3,
                .unit = 0x1p-11,
                .accepts = fits_half,
                .run = run<HalfCache>});
  registry.add({.op = Attention::name,
                .variant = "bf16.3_tile",
                .improves = "1_plain",
                .note = "the same in bf16, to which a cache in other formats is decoded on its way into shared memory",
                .preference = 3,
                .unit = 0x1p-8,
                .accepts = fits_other,
                .run = run<OtherCache>});
}

}  // namespace kerf::KERF_GPU_NS
