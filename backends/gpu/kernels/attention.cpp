// attention by threads: any head size, and a few tokens over a long cache. Prefill is in attention_tile.cpp.
// Milakov & Gimelshein 2018 (online softmax); Dao et al. 2022, 2023 (FlashAttention, -2); Dao, Haziza, Massa, Sizov 2023 (Flash-Decoding).
#include <algorithm>

#include "backends/gpu/kernels/cache_rows.h"
#include "quant/encode.h"

namespace kerf::KERF_GPU_NS {
namespace {

constexpr int kThreads = 128, kWarps = kThreads / kLanes;
constexpr int kMaxHead = 512;

constexpr int kStep = 4 * kLanes;  // keys between two looks at the maximum

/// One query head, by a warp. Of kStep keys each lane has four; then each lane has every 32nd dimension of the output.
struct Row {
  const AttentionArgs& a;
  const float* q;
  float (&weights)[kStep];
  float max = kNothing, sum = 0;      // sum: this lane's keys only
  float out[kMaxHead / kLanes] = {};  // dimensions lane(), lane() + 32 ...

  template <class F>
  KERF_DEVICE float score(const std::byte* key) const {
    float s = 0;
    for (int d = 0; d < a.hd; ++d) s = fmaf(q[d], value_at<F>(key, d), s);
    return s * (a.scale * kLog2e);
  }
  template <class F>
  KERF_DEVICE void add_values(const CacheRows& v, int64_t s0, int n) {
    KERF_UNROLL
    for (int j = 0; j < kMaxHead / kLanes; ++j) {
      const int d = static_cast<int>(lane()) + j * kLanes;
      if (d >= a.hd) break;
      for (int i = 0; i < n; ++i) out[j] = fmaf(weights[i], value_at<F>(v.row(s0 + i), d), out[j]);
    }
  }
  /// Keys s0 to s0 + n - 1, n at most kStep.
  KERF_DEVICE void step(const CacheRows& k, const CacheRows& v, int64_t s0, int n) {
    float largest = kNothing;
    for (int i = static_cast<int>(lane()); i < kStep; i += kLanes) {
      float s = kNothing;
      if (i < n) with_format(k.dtype, [&]<class F>(F) { s = score<F>(k.row(s0 + i)); });
      largest = larger(largest, s);
      weights[i] = s;
    }
    const float before = max;
    max = larger(before, warp_max(largest));
    const float factor = weight_of(before, max);
    sum *= factor;
    for (float& o : out) o *= factor;
    for (int i = static_cast<int>(lane()); i < kStep; i += kLanes) sum += weights[i] = weight_of(weights[i], max);
    warp_sync();
    with_format(v.dtype, [&]<class F>(F) { add_values<F>(v, s0, n); });
    warp_sync();
  }
};

KERF_GLOBAL(kThreads) attend_row(AttentionArgs a) {
  KERF_SHARED(float, weights, [kWarps][kStep]);
  const int64_t i = static_cast<int64_t>(block_x()) * kWarps + warp();
  if (i >= static_cast<int64_t>(a.T) * a.n_head) return;
  const int64_t t = i / a.n_head;
  const int head = static_cast<int>(i % a.n_head);
  const CacheRows k = a.k.head(head / a.group), v = a.v.head(head / a.group);
  const attention::Range keys = a.keys(t);
  Row row{.a = a, .q = a.q + a.at(t, head), .weights = weights[warp()]};
  for (int64_t s0 = keys.begin; s0 < keys.end; s0 += kLanes) row.step(k, v, s0, static_cast<int>(keys.end - s0 < kLanes ? keys.end - s0 : kLanes));
  const float sum = warp_sum(row.sum);
  KERF_UNROLL
  for (int j = 0; j < kMaxHead / kLanes; ++j)
    if (const int d = static_cast<int>(lane()) + j * kLanes; d < a.hd) a.out[a.at(t, head) + d] = row.out[j] / sum;
}

void run_rows(const Problem& p, const Call& call) {
  const AttentionArgs a = attention_args(p, call);
  launch(call, {.kernel = "attend_row", .blocks = {blocks_for(int64_t{a.T} * a.n_head, kWarps)}, .threads = kThreads}, attend_row, a);
}

// Split: a block has up to kMaxPack query heads of one key/value head, one token, and every splits-th tile of keys it sees. So the
// work is even wherever the token is, though the grid only knows the capacity of the cache: the tiles of a short context go to the
// first blocks, one each, and the others end at once.

constexpr int kTile = 64;                                         // keys
constexpr int kKeyLanes = 4, kKeysAtOnce = kThreads / kKeyLanes;  // that share a key: 64 consecutive bytes of it in f16
constexpr int kMaxPack = 8;
constexpr int kMaxTokens = 8;

struct SplitArgs {
  AttentionArgs a;
  float* parts;       // [T, n_head, splits, hd + 2]: weighted sum of values, largest score, sum of weights
  int splits, packs;  // packs: blocks that share the heads of a group

  KERF_DEVICE float* part(int64_t t, int head, int split) const { return parts + ((t * a.n_head + head) * splits + split) * (a.hd + 2); }
};

/// Tiles of keys, at multiples of kTile whatever a token sees of them.
struct Tiles {
  int64_t first, count;
  KERF_DEVICE explicit Tiles(attention::Range keys) : first(keys.begin / kTile), count((keys.end + kTile - 1) / kTile - first) {}
};

/// Adds what the lanes of a key have of each head; dots[g], g a multiple of kKeyLanes, becomes the sum of head g + part. Where a lane
/// needs only half of the heads in the end, it hands the other half over and keeps its own: 3 shuffles for 4 heads, not 8.
template <int pack>
KERF_DEVICE void sum_over_key_lanes(float (&dots)[pack], int part) {
  KERF_UNROLL
  for (int bits = kKeyLanes / 2; bits > 0; bits /= 2) {
    KERF_UNROLL
    for (int g = 0; g < pack; ++g) {
      if (g & (kKeyLanes - bits)) continue;  // handed over
      if (bits >= pack) {
        dots[g] += shfl_xor(dots[g], static_cast<unsigned>(bits));
        continue;
      }
      const bool takes_upper = part & bits;
      const float mine = takes_upper ? dots[g | bits] : dots[g], other = takes_upper ? dots[g] : dots[g | bits];
      dots[g] = mine + shfl_xor(other, static_cast<unsigned>(bits));
    }
  }
}

/// scores[g][key] = q_g . key for the keys of a tile: kKeyLanes lanes take turns on eight values of a key, for all heads.
template <class F, int pack>
KERF_DEVICE void score_tile(const CacheRows& k, int64_t s0, attention::Range keys, const float* q, int hd, float (&scores)[pack][kTile]) {
  const int part = static_cast<int>(thread_x()) % kKeyLanes;
  for (int key = static_cast<int>(thread_x()) / kKeyLanes; key < kTile; key += kKeysAtOnce) {
    const int64_t s = s0 + key;
    const bool is_visible = s >= keys.begin && s < keys.end;
    float dots[pack] = {};
    for (int d = 8 * part; is_visible && d < hd; d += 8 * kKeyLanes) {
      float x[8], y[8];
      load8<F>(k.row(s), d, x);
      KERF_UNROLL
      for (int g = 0; g < pack; ++g) {
        load8(q + g * hd + d, y);
        KERF_UNROLL
        for (int i = 0; i < 8; ++i) dots[g] = fmaf(x[i], y[i], dots[g]);
      }
    }
    sum_over_key_lanes<pack>(dots, part);
    if (part >= pack) continue;
    KERF_UNROLL
    for (int g = 0; g < pack; g += kKeyLanes) scores[g + part][key] = is_visible ? dots[g] : kNothing;
  }
}

/// Maximum and sum of the heads that a warp keeps: g = warp(), warp() + kWarps ...
template <int pack>
struct Softmax {
  static constexpr int own = (pack + kWarps - 1) / kWarps;
  float max[own], sum[own];

  KERF_DEVICE Softmax() {
    for (int j = 0; j < own; ++j) max[j] = kNothing, sum[j] = 0;
  }
  /// Scores to weights; factors[g] is what the sums so far are multiplied by.
  KERF_DEVICE void step(float (&scores)[pack][kTile], float (&factors)[pack]) {
    KERF_UNROLL
    for (int j = 0; j < own; ++j) {
      const int g = static_cast<int>(warp()) + j * kWarps;
      if (g >= pack) break;
      float* mine = scores[g] + lane();
      const float before = max[j];
      max[j] = larger(before, warp_max(larger(mine[0], mine[kLanes])));
      const float a = weight_of(mine[0], max[j]), b = weight_of(mine[kLanes], max[j]), factor = weight_of(before, max[j]);
      mine[0] = a, mine[kLanes] = b;
      sum[j] = fmaf(sum[j], factor, warp_sum(a + b));
      if (lane() == 0) factors[g] = factor;
    }
  }
};

/// Eight dimensions of the output for all heads, summed over every `key_lanes`-th key.
template <int pack>
struct Values {
  int d, first_key, key_lanes;
  float sums[pack][8] = {};

  template <class F>
  KERF_DEVICE void add_tile(const CacheRows& v, int64_t s0, attention::Range keys, const float (&weights)[pack][kTile],
                            const float (&factors)[pack]) {
    if (first_key >= key_lanes) return;
    KERF_UNROLL
    for (int g = 0; g < pack; ++g)
      for (float& x : sums[g]) x *= factors[g];
    const auto begin = static_cast<int>(keys.begin > s0 ? keys.begin - s0 : 0), end = static_cast<int>(keys.end - s0 < kTile ? keys.end - s0 : kTile);
    for (int key = begin + (first_key - begin % key_lanes + key_lanes) % key_lanes; key < end; key += key_lanes) {
      float x[8];
      load8<F>(v.row(s0 + key), d, x);
      KERF_UNROLL
      for (int g = 0; g < pack; ++g)
        for (int i = 0; i < 8; ++i) sums[g][i] = fmaf(weights[g][key], x[i], sums[g][i]);
    }
  }
};

/// Caches of f16, which are the usual ones, have a kernel without the branches and registers that the formats take in the other.
struct HalfRows {
  template <class Fn>
  KERF_DEVICE static void with_format(DType, Fn&& f) {
    f(quant::F16{});
  }
};
struct AnyRows {
  template <class Fn>
  KERF_DEVICE static void with_format(DType type, Fn&& f) {
    KERF_GPU_NS::with_format(type, f);
  }
};

/// Blocks that a multiprocessor should hold; 0: as the compiler likes, who for these others would spill (sm_90).
template <class Rows, int pack>
[[maybe_unused]] constexpr int kBlocksAtOnce = std::is_same_v<Rows, HalfRows> ? (pack == 8 ? 3 : 0) : (pack <= 2 ? 3 : 2);

template <class Rows, int pack>
KERF_GLOBAL(kThreads, (kBlocksAtOnce<Rows, pack>))
attend_split(SplitArgs args) {
  KERF_SHARED_DYNAMIC(float, q);  // [pack][hd]
  KERF_SHARED(float, scores, [pack][kTile]);
  KERF_SHARED(float, factors, [pack]);
  KERF_SHARED(float, partial, [kThreads][8]);
  const AttentionArgs& a = args.a;
  const int split = static_cast<int>(block_x()), kv = static_cast<int>(block_y()) / args.packs;
  const int head = kv * a.group + static_cast<int>(block_y()) % args.packs * pack, heads = std::min(pack, (kv + 1) * a.group - head);
  const int64_t t = block_z();
  const attention::Range keys = a.keys(t);
  const Tiles tiles(keys);
  if (split >= tiles.count) return;

  for (int i = static_cast<int>(thread_x()); i < pack * a.hd; i += kThreads)
    q[i] = i < heads * a.hd ? a.q[a.at(t, head) + i] * (a.scale * kLog2e) : 0.f;
  const int row_threads = a.hd / 8, thread = static_cast<int>(thread_x());
  const CacheRows k = a.k.head(kv), v = a.v.head(kv);
  Softmax<pack> softmax;
  Values<pack> values{.d = thread % row_threads * 8, .first_key = thread / row_threads, .key_lanes = kThreads / row_threads};
  for (int64_t tile = split; tile < tiles.count; tile += args.splits) {
    const int64_t s0 = (tiles.first + tile) * kTile;
    block_sync();
    Rows::with_format(k.dtype, [&]<class F>(F) { score_tile<F, pack>(k, s0, keys, q, a.hd, scores); });
    block_sync();
    softmax.step(scores, factors);
    block_sync();
    Rows::with_format(v.dtype, [&]<class F>(F) { values.template add_tile<F>(v, s0, keys, scores, factors); });
  }

  KERF_UNROLL
  for (int g = 0; g < pack; ++g) {
    for (int i = 0; i < 8; ++i) partial[thread][i] = values.sums[g][i];
    block_sync();
    if (g < heads && thread < row_threads)
      for (int i = 0; i < 8; ++i) {
        float sum = 0;
        for (int l = 0; l < values.key_lanes; ++l) sum += partial[l * row_threads + thread][i];
        args.part(t, head + g, split)[values.d + i] = sum;
      }
    block_sync();
    if (g < heads && static_cast<int>(warp()) == g % kWarps && lane() == 0) {
      args.part(t, head + g, split)[a.hd] = softmax.max[g / kWarps];
      args.part(t, head + g, split)[a.hd + 1] = softmax.sum[g / kWarps];
    }
  }
}

/// One head of one token from its splits, first to last.
KERF_GLOBAL(kThreads) merge_splits(SplitArgs args) {
  const int head = static_cast<int>(block_x()), stride = args.a.hd + 2;
  const int64_t t = block_y();
  const Tiles tiles(args.a.keys(t));
  const int n = static_cast<int>(tiles.count < args.splits ? tiles.count : args.splits);
  const float* part = args.part(t, head, 0);
  float max = kNothing;
  for (int i = 0; i < n; ++i) max = larger(max, part[i * stride + args.a.hd]);
  for (int d = static_cast<int>(thread_x()); d < args.a.hd; d += kThreads) {
    float out = 0, sum = 0;
    for (int i = 0; i < n; ++i) {
      const float weight = weight_of(part[i * stride + args.a.hd], max);
      out = fmaf(part[i * stride + d], weight, out);
      sum = fmaf(part[i * stride + args.a.hd + 1], weight, sum);
    }
    args.a.out[args.a.at(t, head) + d] = out / sum;
  }
}

int pack_of(int group) { return group > 4 ? kMaxPack : group > 2 ? 4 : group; }
int packs_of(int group) { return (group + kMaxPack - 1) / kMaxPack; }

/// About 512 blocks for a token, which is four for each processor of a large GPU. Not fewer where there are more tokens: the
/// splits decide the order of a row's sums, and that must not depend on the batch.
int splits_of(const Problem& p) {
  const int64_t n_kv = p.in[1].shape[1], packs = packs_of(std::get<Attention>(p.op).n_head / static_cast<int>(n_kv));
  return static_cast<int>(std::min((p.in[1].shape[2] + kTile - 1) / kTile, std::clamp<int64_t>(512 / (n_kv * packs), 16, 128)));
}
size_t split_bytes(const Problem& p) {
  const auto rows = p.in[0].rows() * std::get<Attention>(p.op).n_head * splits_of(p);
  return static_cast<size_t>(rows * (p.in[1].cols() + 2)) * sizeof(float);
}

template <class Rows>
auto splits_with(int pack) {
  return pack == 1 ? attend_split<Rows, 1> : pack == 2 ? attend_split<Rows, 2> : pack == 4 ? attend_split<Rows, 4> : attend_split<Rows, kMaxPack>;
}

void run_splits(const Problem& p, const Call& call) {
  const AttentionArgs a = attention_args(p, call);
  const SplitArgs args{.a = a, .parts = reinterpret_cast<float*>(call.scratch.data()), .splits = splits_of(p), .packs = packs_of(a.group)};
  const int pack = pack_of(a.group);
  const auto T = static_cast<unsigned>(a.T);
  const bool is_half = a.k.dtype == DType::f16 && a.v.dtype == DType::f16;
  launch(call,
         {.kernel = "attend_split",
          .blocks = {static_cast<unsigned>(args.splits), static_cast<unsigned>(a.n_head / a.group * args.packs), T},
          .threads = kThreads,
          .shared = static_cast<size_t>(pack * a.hd) * sizeof(float)},
         is_half ? splits_with<HalfRows>(pack) : splits_with<AnyRows>(pack), args);
  launch(call, {.kernel = "merge_splits", .blocks = {static_cast<unsigned>(a.n_head), T}, .threads = kThreads}, merge_splits, args);
}

Support fits(const Problem& p) {
  if (!quant::is_cache_type(p.in[1].dtype) || !quant::is_cache_type(p.in[2].dtype)) return {"keys or values are in no format of a cache"};
  return require(p.in[1].cols() <= kMaxHead, "heads have more than 512 values");
}
Support fits_splits(const Problem& p) {
  if (p.in[0].rows() > kMaxTokens) return {"more than 8 tokens: tiles of them share each key"};
  if (p.in[1].cols() % 8 != 0) return {"the head is no multiple of 8 values"};
  return fits(p);
}

}  // namespace

void attention(Registry::Adder registry) {
  registry.add({.op = Attention::name,
                .variant = "1_plain",
                .note = "a warp per token and query head, online softmax over 128 keys at a time",
                .preference = 1,
                .accepts = fits,
                .run = run_rows});
  registry.add({.op = Attention::name,
                .variant = "2_split",
                .improves = "1_plain",
                .note = "keys are dealt to blocks, whose sums a second launch merges, and heads that share a key read it once: a token keeps the "
                        "whole GPU busy",
                .preference = 2,
                .accepts = fits_splits,
                .scratch_bytes = split_bytes,
                .run = run_splits});
}

}  // namespace kerf::KERF_GPU_NS
