// Attention in AMX tiles, for many query rows. The heads of a group and neighbouring tokens are folded into one row index,
// 32 rows at a time; keys and values of a chunk of 256 are decoded to bf16 once for all rows of a task, whatever the cache's
// format (cache_bf16_amx.h). Both products are turned around:
//
//   S^T = K Q^T    [keys x rows]        keys are the first operand as they lie in the cache, Q^T is packed once
//   O^T = V^T P^T  [dimensions x rows]  two neighbouring rows of P^T, rounded and interleaved, are the second operand
//
// so that a register of scores holds 16 query rows of one key: the softmax has no reductions across lanes, and its weights
// need no transposition. Values do, once per chunk and task.
// The softmax is in base 2 (log2 e and the scale go into Q before it is rounded). Its reference is not the largest score but
// one that the largest exceeds by at most 8: O is rescaled only when it grows further, which in a long context is hardly ever.
// Weights are cut to bf16, and the sums are those of the cut weights: the output is an exact convex combination of values.
//
// `Planes` is the number of bf16 terms that stand for each operand. One: 8 bits of q, k, v and the weights (rung 4). Two: 16
// bits, the rest of the rounding being the second term, and three tile products for one (rung 6).
#pragma once
#include <immintrin.h>

#include <algorithm>
#include <array>
#include <limits>

#include "backends/cpu/amx_tiles.h"
#include "backends/cpu/attention_tiled.h"
#include "backends/cpu/cache_bf16_amx.h"

namespace kerf::cpu {
inline namespace KERF_ISA {

using attention::Range;

constexpr int64_t kChunkKeys = 256, kGroupRows = 32;  // keys per softmax; query rows that are handled together
constexpr int64_t kTaskRows = 384;                    // query rows that share a decoded chunk: their Q and O stay in L2
constexpr int64_t kMaxTilesHeadDim = 256;
constexpr float kSlack = 8;  // the largest score may exceed its reference by so much: weights are at most 2^8

constexpr int64_t kMaxSteps = kMaxTilesHeadDim / kStep, kChunkSteps = kChunkKeys / kStep;

/// The products of two sums of bf16 planes, (a0 + a1)(b0 + b1) without a1 b1: which planes meet.
struct PlanePair {
  int a, b;
};
template <int Planes>
inline constexpr std::array<PlanePair, 2 * Planes - 1> kPlanePairs = [] {
  if constexpr (Planes == 1)
    return std::array{PlanePair{0, 0}};
  else
    return std::array{PlanePair{0, 0}, PlanePair{0, 1}, PlanePair{1, 0}};
}();

/// Memory of a task, in tiles of 1 KiB; every operand of a product has `Planes` of them. Heads narrower than
/// kMaxTilesHeadDim use the front of each part.
template <int Planes>
struct TilesWorkspace {
  alignas(64) std::byte q[Planes][kTaskRows / kGroupRows * kMaxSteps * 2 * kTileBytes];  // [group][dimension / 32][2 x 16 rows]
  alignas(64) std::byte out[kTaskRows / kGroupRows * kMaxSteps * 4 * kTileBytes];        // [group][dimension / 16][2 x 16 rows] f32
  alignas(64) std::byte k[Planes][kChunkKeys / 16 * kMaxSteps * kTileBytes];             // [key / 16][dimension / 32]
  alignas(64) std::byte v[Planes][2 * kMaxSteps * kChunkSteps * kTileBytes];             // [dimension / 16][key / 32]
  alignas(64) std::byte scores[kChunkKeys / 16 * 2 * kTileBytes];                        // [key / 16][2 x 16 rows] f32
  alignas(64) std::byte weights[Planes][kChunkSteps * 2 * kTileBytes];                   // [key / 32][2 x 16 rows], pairs of keys
  alignas(64) float reference[kTaskRows], sum[kTaskRows];
  alignas(64) int32_t begin[kTaskRows], end[kTaskRows];  // keys that a row sees
};

/// 2^x by x = floor + r: a polynomial of degree 3 for 2^r on [0, 1), relative error 1e-4, a twentieth of the weights' rounding
/// (and the same in numerator and denominator). -inf gives 0, NaN stays.
inline __m512 exp2_coarse(__m512 x) {
  const __m512 r = _mm512_reduce_ps(x, 0x09);  // x - floor(x); 0 for an infinity
  __m512 p = _mm512_fmadd_ps(_mm512_set1_ps(0.07802452f), r, _mm512_set1_ps(0.22606716f));
  p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(0.69583354f));
  p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(0.9999252f));
  return _mm512_scalef_ps(p, x);  // p * 2^floor(x)
}

/// 2^x to 1.2e-7: the Taylor polynomial of degree 6 on [-1/2, 1/2].
inline __m512 exp2_fine(__m512 x) {
  const __m512 r = _mm512_reduce_ps(x, 0x08);  // x - round(x); 0 for an infinity
  __m512 p = _mm512_set1_ps(1.5403530e-4f);
  for (const float c : {1.3333558e-3f, 9.6181291e-3f, 5.5504109e-2f, 0.24022651f, 0.69314718f, 1.f}) p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(c));
  return _mm512_scalef_ps(p, _mm512_sub_ps(x, r));
}

using DecodeTiles = void (*)(const std::byte* rows, int64_t row_bytes, Range seen, int64_t hd, std::byte* tiles);

template <int Planes>
struct TilesTask {
  const AttentionShape& s;
  TilesWorkspace<Planes>& w;
  const std::byte *keys, *values;  // of this key/value head
  int64_t key_bytes, value_bytes;
  std::array<DecodeTiles, Planes> key_tiles, value_tiles;
  int64_t groups = 0;
  int64_t steps = s.hd / kStep;

  static __m512 exp2(__m512 x) { return Planes == 1 ? exp2_coarse(x) : exp2_fine(x); }

  std::byte* q_of(int64_t g, int plane) const { return w.q[plane] + g * steps * 2 * kTileBytes; }
  std::byte* out_of(int64_t g) const { return w.out + g * steps * 4 * kTileBytes; }

  /// Sixteen query rows as second operand: pairs of dimensions x 16 rows. Null rows are zeros.
  void pack_queries(const float* const* q, int64_t tile) const {
    const __m512 factor = _mm512_set1_ps(s.scale * 1.44269504f);
    for (int64_t i = 0; i < steps; ++i)
      for (int plane = 0; plane < Planes; ++plane) {
        __m512 row[16];
        for (int64_t r = 0; r < 16; ++r) {
          row[r] = _mm512_setzero_ps();
          if (q[r] == nullptr) continue;
          const __m512 low = _mm512_mul_ps(factor, _mm512_loadu_ps(q[r] + i * kStep)),
                       high = _mm512_mul_ps(factor, _mm512_loadu_ps(q[r] + i * kStep + 16));
          row[r] = _mm512_castsi512_ps(plane == 0 ? bf16_of(low, high) : bf16_rest(low, high));
        }
        transpose16(row);
        for (int64_t r = 0; r < 16; ++r) _mm512_store_ps(q_of(tile / 2, plane) + (i * 2 + tile % 2) * kTileBytes + r * 64, row[r]);
      }
  }

  /// Tiles 0-3 += (a0, a1) x (b0, b1).
  static void multiply(const std::byte* a0, const std::byte* a1, const std::byte* b0, const std::byte* b1) {
    tile_load<4>(a0);
    tile_load<6>(b0);
    tile_multiply_bf16<0, 4, 6>();
    tile_load<7>(b1);
    tile_multiply_bf16<1, 4, 7>();
    tile_load<5>(a1);
    tile_multiply_bf16<2, 5, 6>();
    tile_multiply_bf16<3, 5, 7>();
  }

  /// Scores of 32 rows and the keys of the steps [first, last) of the chunk.
  void score(int64_t g, int64_t first, int64_t last) const {
    for (int64_t step = first; step < last; ++step) {
      tile_zero<0>();
      tile_zero<1>();
      tile_zero<2>();
      tile_zero<3>();
      for (int64_t i = 0; i < steps; ++i)
        for (const auto [a, b] : kPlanePairs<Planes>) {
          const std::byte *k = w.k[a] + (step * 2 * steps + i) * kTileBytes, *q = q_of(g, b) + 2 * i * kTileBytes;
          multiply(k, k + steps * kTileBytes, q, q + kTileBytes);
        }
      std::byte* out = w.scores + step * 4 * kTileBytes;
      tile_store<0>(out);
      tile_store<1>(out + kTileBytes);
      tile_store<2>(out + 2 * kTileBytes);
      tile_store<3>(out + 3 * kTileBytes);
    }
  }

  float* score_row(int64_t key, int64_t half) const {
    return reinterpret_cast<float*>(w.scores + (key / 16 * 2 + half) * kTileBytes + key % 16 * 64);
  }

  /// Scores of keys that a row does not see become -inf.
  void mask(int64_t row, int64_t half, int64_t first, int64_t n) const {
    const __m512i begin = _mm512_load_si512(w.begin + row), end = _mm512_load_si512(w.end + row);
    const __m512 none = _mm512_set1_ps(-std::numeric_limits<float>::infinity());
    for (int64_t key = 0; key < n; ++key) {
      const __m512i at = _mm512_set1_epi32(static_cast<int32_t>(first + key));
      const __mmask16 hidden = _mm512_cmplt_epi32_mask(at, begin) | _mm512_cmpge_epi32_mask(at, end);
      if (hidden == 0) continue;
      float* score = score_row(key, half);
      _mm512_store_ps(score, _mm512_mask_mov_ps(_mm512_load_ps(score), hidden, none));
    }
  }

  /// Sixteen rows of scores to weights. Returns the factor that their sums so far take, and whether any differs from 1.
  bool soften(int64_t row, int64_t half, int64_t first, int64_t last, __m512& factor) const {
    const __m512 none = _mm512_set1_ps(-std::numeric_limits<float>::infinity());
    __m512 largest[4] = {none, none, none, none};
    for (int64_t key = first * kStep; key < last * kStep; key += 4)
      for (int64_t i = 0; i < 4; ++i) largest[i] = _mm512_max_ps(_mm512_load_ps(score_row(key + i, half)), largest[i]);
    const __m512 max = _mm512_max_ps(_mm512_max_ps(largest[0], largest[1]), _mm512_max_ps(largest[2], largest[3]));
    const __m512 old = _mm512_load_ps(w.reference + row);
    const __mmask16 grown = _mm512_cmp_ps_mask(max, _mm512_add_ps(old, _mm512_set1_ps(kSlack)), _CMP_GT_OQ);
    const __m512 reference = _mm512_mask_mov_ps(old, grown, max);
    // Nothing before: no old sum to take along. Nothing yet: subtract 0, as -inf + inf would be NaN.
    const __mmask16 fresh = _mm512_cmp_ps_mask(old, none, _CMP_EQ_OQ), nothing = _mm512_cmp_ps_mask(reference, none, _CMP_EQ_OQ);
    factor = _mm512_mask_mov_ps(_mm512_set1_ps(1), grown, exp2(_mm512_sub_ps(old, reference)));
    factor = _mm512_mask_mov_ps(factor, grown & fresh, _mm512_setzero_ps());
    const __m512 shift = _mm512_mask_mov_ps(reference, nothing, _mm512_setzero_ps());
    const __m512i high = _mm512_set1_epi32(static_cast<int32_t>(0xFFFF0000u));
    __m512 sum[2] = {_mm512_setzero_ps(), _mm512_setzero_ps()};
    for (int64_t key = first * kStep; key < last * kStep; key += 2) {
      __m512 even = exp2(_mm512_sub_ps(_mm512_load_ps(score_row(key, half)), shift));
      __m512 odd = exp2(_mm512_sub_ps(_mm512_load_ps(score_row(key + 1, half)), shift));
      for (int plane = 0; plane < Planes; ++plane) {
        const __m512i cut_even = _mm512_and_si512(_mm512_castps_si512(even), high), cut_odd = _mm512_and_si512(_mm512_castps_si512(odd), high);
        sum[0] = _mm512_add_ps(sum[0], _mm512_castsi512_ps(cut_even));
        sum[1] = _mm512_add_ps(sum[1], _mm512_castsi512_ps(cut_odd));
        _mm512_store_si512(w.weights[plane] + (key / kStep * 2 + half) * kTileBytes + key % kStep / 2 * 64,
                           _mm512_or_si512(_mm512_srli_epi32(cut_even, 16), cut_odd));
        if (plane + 1 == Planes) break;
        even = _mm512_sub_ps(even, _mm512_castsi512_ps(cut_even));
        odd = _mm512_sub_ps(odd, _mm512_castsi512_ps(cut_odd));
      }
    }
    _mm512_store_ps(w.sum + row, _mm512_fmadd_ps(_mm512_load_ps(w.sum + row), factor, _mm512_add_ps(sum[0], sum[1])));
    _mm512_store_ps(w.reference + row, reference);
    return grown != 0;
  }

  void rescale(int64_t g, int64_t half, __m512 factor) const {
    for (int64_t tile = 0; tile < 2 * steps; ++tile) {
      auto* o = reinterpret_cast<float*>(out_of(g) + (2 * tile + half) * kTileBytes);
      for (int64_t i = 0; i < 16; ++i) _mm512_store_ps(o + 16 * i, _mm512_mul_ps(factor, _mm512_load_ps(o + 16 * i)));
    }
  }

  /// O^T += V^T P^T for 32 rows and the keys of the steps [first, last).
  void gather(int64_t g, int64_t first, int64_t last) const {
    for (int64_t i = 0; i < steps; ++i) {
      std::byte* out = out_of(g) + 4 * i * kTileBytes;
      tile_load<0>(out);
      tile_load<1>(out + kTileBytes);
      tile_load<2>(out + 2 * kTileBytes);
      tile_load<3>(out + 3 * kTileBytes);
      for (int64_t step = first; step < last; ++step)
        for (const auto [a, b] : kPlanePairs<Planes>) {
          const std::byte *v = w.v[a] + (2 * i * kChunkSteps + step) * kTileBytes, *p = w.weights[b] + 2 * step * kTileBytes;
          multiply(v, v + kChunkSteps * kTileBytes, p, p + kTileBytes);
        }
      tile_store<0>(out);
      tile_store<1>(out + kTileBytes);
      tile_store<2>(out + 2 * kTileBytes);
      tile_store<3>(out + 3 * kTileBytes);
    }
  }

  /// Keys that any, and that all of the rows of a group see.
  struct Seen {
    Range any, all;
  };
  Seen seen(int64_t g) const {
    const int32_t *b = w.begin + g * kGroupRows, *e = w.end + g * kGroupRows;
    return {{_mm512_reduce_min_epi32(_mm512_min_epi32(_mm512_load_si512(b), _mm512_load_si512(b + 16))),
             _mm512_reduce_max_epi32(_mm512_max_epi32(_mm512_load_si512(e), _mm512_load_si512(e + 16)))},
            {_mm512_reduce_max_epi32(_mm512_max_epi32(_mm512_load_si512(b), _mm512_load_si512(b + 16))),
             _mm512_reduce_min_epi32(_mm512_min_epi32(_mm512_load_si512(e), _mm512_load_si512(e + 16)))}};
  }

  /// One chunk for all rows.
  void attend_chunk(int64_t chunk, Range task) const {
    const Range keys_of_task{std::max(task.begin, chunk) - chunk, std::min(task.end, chunk + kChunkKeys) - chunk};
    for (int plane = 0; plane < Planes; ++plane) {
      key_tiles[plane](keys + chunk * key_bytes, key_bytes, keys_of_task, s.hd, w.k[plane]);
      value_tiles[plane](values + chunk * value_bytes, value_bytes, keys_of_task, s.hd, w.v[plane]);
    }
    for (int64_t g = 0; g < groups; ++g) {
      const Seen sees = seen(g);
      const Range any{std::max(sees.any.begin, chunk) - chunk, std::min(sees.any.end, chunk + kChunkKeys) - chunk};
      if (any.begin >= any.end) continue;
      const int64_t first = any.begin / kStep, last = (any.end + kStep - 1) / kStep;
      score(g, first, last);
      const bool masked = sees.all.begin > chunk + first * kStep || sees.all.end < chunk + last * kStep;
      for (int64_t half = 0; half < 2; ++half) {
        const int64_t row = g * kGroupRows + half * 16;
        if (masked) mask(row, half, chunk, last * kStep);
        __m512 factor;
        if (soften(row, half, first, last, factor)) rescale(g, half, factor);
      }
      gather(g, first, last);
    }
  }

  /// The output rows: O^T divided by the sums and transposed back.
  void finish(int64_t tile, float* const* out) const {
    const __m512 inverse = _mm512_div_ps(_mm512_set1_ps(1), _mm512_load_ps(w.sum + tile * 16));
    for (int64_t i = 0; i < 2 * steps; ++i) {
      const auto* o = reinterpret_cast<const float*>(out_of(tile / 2) + (2 * i + tile % 2) * kTileBytes);
      __m512 row[16];
      for (int64_t d = 0; d < 16; ++d) row[d] = _mm512_mul_ps(_mm512_load_ps(o + 16 * d), inverse);
      transpose16(row);
      for (int64_t r = 0; r < 16; ++r)
        if (out[r] != nullptr) _mm512_storeu_ps(out[r] + 16 * i, row[r]);
    }
  }
};

/// Attention of the tokens [first, first + tokens) for one key/value head.
template <int Planes>
void run_tiles_task(const AttentionShape& s, const Call& call, int64_t kv, int64_t first, int64_t tokens) {
  const TileScope tiles;
  TilesWorkspace<Planes> w;
  const auto* positions = call.in[3].as<const int32_t>();
  const int64_t rows = tokens * s.group, groups = (rows + kGroupRows - 1) / kGroupRows;
  TilesTask<Planes> task{s,
                         w,
                         call.in[1].row<const std::byte>(kv * s.n_ctx),
                         call.in[2].row<const std::byte>(kv * s.n_ctx),
                         call.in[1].desc.row_bytes(),
                         call.in[2].desc.row_bytes(),
                         {},
                         {},
                         groups};
  TileFormats<Planes>::visit(call.in[1].desc.dtype, [&]<class F>(F) {
    task.key_tiles[0] = key_tiles<F, 0>;
    if constexpr (Planes > 1) task.key_tiles[1] = key_tiles<F, 1>;
  });
  TileFormats<Planes>::visit(call.in[2].desc.dtype, [&]<class F>(F) {
    task.value_tiles[0] = value_tiles<F, 0, kChunkSteps>;
    if constexpr (Planes > 1) task.value_tiles[1] = value_tiles<F, 1, kChunkSteps>;
  });
  const auto index = [&](int64_t r) { return (first + r / s.group) * s.H + kv * s.group + r % s.group; };  // t * H + h
  Range all{s.n_ctx, 0};
  for (int64_t r = 0; r < groups * kGroupRows; ++r) {
    // Rows past the end see what the last row sees, with a query of zeros: no special case, and they are never stored.
    const Range mine = attention::visible_keys(positions[first + std::min(r, rows - 1) / s.group], s.window);
    w.begin[r] = static_cast<int32_t>(mine.begin);
    w.end[r] = static_cast<int32_t>(mine.end);
    w.reference[r] = -std::numeric_limits<float>::infinity();
    w.sum[r] = 0;
    all = {std::min(all.begin, mine.begin), std::max(all.end, mine.end)};
  }
  std::fill_n(reinterpret_cast<float*>(w.out), groups * kGroupRows * s.hd, 0.f);
  for (int64_t tile = 0; tile < 2 * groups; ++tile) {
    const float* q[16];
    for (int64_t r = 0; r < 16; ++r) q[r] = tile * 16 + r < rows ? call.in[0].as<const float>() + index(tile * 16 + r) * s.hd : nullptr;
    task.pack_queries(q, tile);
  }
  for (int64_t chunk = all.begin / kChunkKeys * kChunkKeys; chunk < all.end; chunk += kChunkKeys) task.attend_chunk(chunk, all);
  for (int64_t tile = 0; tile < 2 * groups; ++tile) {
    float* out[16];
    for (int64_t r = 0; r < 16; ++r) out[r] = tile * 16 + r < rows ? call.out[0].as<float>() + index(tile * 16 + r) * s.hd : nullptr;
    task.finish(tile, out);
  }
}

/// Item i of n, so that each thread's stretch of i (core/threadpool.h) holds short and long ones alike, the longest first.
inline int64_t dealt(int64_t i, int64_t n, int64_t threads) {
  int64_t t = 0;
  for (int64_t mine = (n + threads - 1) / threads; i >= mine; mine = (n - t + threads - 1) / threads) i -= mine, ++t;
  return n - 1 - (i * threads + t);
}

template <int Planes>
void run_tiles(const Problem& p, const Call& call) {
  const AttentionShape s = attention_shape(p);
  const int64_t threads = call.pool.size(), most = std::max<int64_t>(1, kTaskRows / s.group);
  const int64_t tokens = std::clamp<int64_t>((s.T * s.n_kv + threads - 1) / threads, 1, most);
  const int64_t n = s.n_kv * ((s.T + tokens - 1) / tokens);
  call.pool.parallel_for(n, [&](int64_t i) {
    const int64_t item = dealt(i, n, threads), first = item / s.n_kv * tokens;
    run_tiles_task<Planes>(s, call, item % s.n_kv, first, std::min(tokens, s.T - first));
  });
}

}  // namespace KERF_ISA
}  // namespace kerf::cpu
