// kv_write and rope_cache: values into rows of a key/value cache, in its format. A warp has 32 consecutive values of one head, which
// are one block of every coded format, so a block's extremes are one reduction away, and no lane needs to see another's value.
#include "backends/gpu/gpu.h"
#include "backends/gpu/kernels/rotate.h"
#include "quant/encode.h"

namespace kerf::KERF_GPU_NS {
namespace {

constexpr int kThreads = 128;

struct CacheArgs {
  std::byte* rows;  // [heads, n_ctx] rows
  DType dtype;
  int head_dim;
  int64_t n_ctx, row_bytes;
};

/// What quant::extent_of finds in the 32 values of a warp. Zeros lose their sign in it, as they do there.
KERF_DEVICE quant::Extent warp_extent(float x) {
  const float largest = warp_max(fabsf(x));
  const unsigned who = ballot(fabsf(x) == largest);
  unsigned first = 0;
  while (first < kLanes - 1 && !(who >> first & 1)) ++first;
  const float extreme = shfl(x, first);
  return {.least = -warp_max(-x) + 0.f,
          .greatest = warp_max(x) + 0.f,
          .extreme = largest > 0 ? extreme : 0,
          .finite = all(fabsf(x) <= 3.4028234663852886e38f)};
}

/// Nibbles j and j + 16 share a byte; the fifth bits are a word in the order of values.
template <class F>
KERF_DEVICE void put_nibbles(typename F::Block& b, int code) {
  const int above = shfl_down(code, 16);
  const unsigned l = lane();
  if (l < 16) b.qs[l] = static_cast<uint8_t>((code & 15) | (above & 15) << 4);
  if constexpr (quant::kMaxCode<F> == 31) {
    const uint32_t high = ballot((code >> 4 & 1) != 0);
    if (l < 4) b.qh[l] = static_cast<uint8_t>(high >> 8 * l);
  }
}

/// The warp's values as one block: quant::encode_block, each lane with its own.
template <class F>
KERF_DEVICE void put_block(typename F::Block& b, float x) {
  const quant::Step step = quant::step_for<F>(warp_extent(x));
  const int code = step.finite ? quant::code_of<F>(x, step) : 0;
  if constexpr (F::dtype == DType::q8_0)
    b.qs[lane()] = static_cast<int8_t>(code);
  else
    put_nibbles<F>(b, code);
  if (lane() != 0) return;
  b.d = step.finite ? float_to_half(step.d) : quant::kHalfNan;
  if constexpr (F::kHasMin) b.m = step.finite ? float_to_half(step.shift) : uint16_t{0};
}
template <class F>
KERF_DEVICE void put_block(std::byte* row, int d, float x) {
  put_block<F>(reinterpret_cast<typename F::Block*>(row)[d / 32], x);
}

/// Value i of a token's heads, whole warps of them where the format has blocks.
KERF_DEVICE void put(const CacheArgs& c, int32_t position, int i, float x) {
  const int d = i % c.head_dim;
  std::byte* row = c.rows + (i / c.head_dim * c.n_ctx + position) * c.row_bytes;
  switch (c.dtype) {
    case DType::f32:
      reinterpret_cast<float*>(row)[d] = x;
      return;
    case DType::f16:
      reinterpret_cast<uint16_t*>(row)[d] = float_to_half(x);
      return;
    case DType::bf16:
      reinterpret_cast<uint16_t*>(row)[d] = float_to_bf16(x);
      return;
    case DType::q8_0:
      return put_block<quant::Q8_0>(row, d, x);
    case DType::q5_1:
      return put_block<quant::Q5_1>(row, d, x);
    case DType::q5_0:
      return put_block<quant::Q5_0>(row, d, x);
    case DType::q4_1:
      return put_block<quant::Q4_1>(row, d, x);
    default:
      return put_block<quant::Q4_0>(row, d, x);
  }
}

CacheArgs cache_of(const TensorView& state) {
  return {.rows = state.as<std::byte>(),
          .dtype = state.desc.dtype,
          .head_dim = static_cast<int>(state.desc.cols()),
          .n_ctx = state.desc.shape[2],
          .row_bytes = state.desc.row_bytes()};
}

struct WriteArgs {
  CacheArgs cache;
  const float* x;  // [T, cols]
  const int32_t* positions;
  int cols;
};

KERF_GLOBAL(kThreads) write_values(WriteArgs a) {
  const int64_t t = block_x();
  const int i = static_cast<int>(block_y() * kThreads + thread_x());
  if (i < a.cols) put(a.cache, a.positions[t], i, a.x[t * a.cols + i]);
}

void run_write(const Problem& p, const Call& call) {
  const WriteArgs a{.cache = cache_of(call.out[0]),
                    .x = call.in[1].as<const float>(),
                    .positions = call.in[2].as<const int32_t>(),
                    .cols = static_cast<int>(p.in[1].cols())};
  const auto T = static_cast<unsigned>(p.in[1].rows());
  launch(call, {.kernel = "write_values", .blocks = {T, blocks_for(a.cols, kThreads)}, .threads = kThreads}, write_values, a);
}

struct RopeCacheArgs {
  const float *q, *k, *v, *table;  // [T, q_cols], [T, kv_cols] twice, [T, dims]
  const int32_t* positions;
  float* rotated_q;
  CacheArgs k_cache, v_cache;
  Rotation rotation;
  int q_cols, kv_cols;
  unsigned q_blocks, kv_blocks;  // of one token
};

/// The blocks of a token: first those of its queries, then its keys, then its values.
KERF_GLOBAL(kThreads) rope_and_write(RopeCacheArgs a) {
  const int64_t t = block_x();
  const bool is_q = block_y() < a.q_blocks, is_k = !is_q && block_y() < a.q_blocks + a.kv_blocks;
  const unsigned before = is_q ? 0 : is_k ? a.q_blocks : a.q_blocks + a.kv_blocks;
  const int i = static_cast<int>((block_y() - before) * kThreads + thread_x()), cols = is_q ? a.q_cols : a.kv_cols;
  if (i >= cols) return;
  if (!is_q && !is_k) return put(a.v_cache, a.positions[t], i, a.v[t * cols + i]);
  const int d = i % a.k_cache.head_dim;
  const float x = rotated(a.rotation, (is_q ? a.q : a.k) + t * cols + i - d, a.table + t * a.rotation.dims, d);
  if (is_q)
    a.rotated_q[t * cols + i] = x;
  else
    put(a.k_cache, a.positions[t], i, x);
}

void run_rope_cache(const Problem& p, const Call& call) {
  RopeCacheArgs a{.q = call.in[0].as<const float>(),
                  .k = call.in[1].as<const float>(),
                  .v = call.in[2].as<const float>(),
                  .table = call.in[3].as<const float>(),
                  .positions = call.in[6].as<const int32_t>(),
                  .rotated_q = call.out[0].as<float>(),
                  .k_cache = cache_of(call.out[1]),
                  .v_cache = cache_of(call.out[2]),
                  .rotation = rotation_of(std::get<RopeCache>(p.op).rope, p.in[3]),
                  .q_cols = static_cast<int>(p.in[0].cols()),
                  .kv_cols = static_cast<int>(p.in[1].cols()),
                  .q_blocks = blocks_for(p.in[0].cols(), kThreads),
                  .kv_blocks = blocks_for(p.in[1].cols(), kThreads)};
  const auto T = static_cast<unsigned>(p.in[0].rows());
  launch(call, {.kernel = "rope_and_write", .blocks = {T, a.q_blocks + 2 * a.kv_blocks}, .threads = kThreads}, rope_and_write, a);
}

Support is_cache(const TensorDesc& state) {
  if (!quant::is_cache_type(state.dtype)) return {"the state is not f32, f16, bf16, q8_0, q5_1, q5_0, q4_1 or q4_0"};
  return require(state.cols() % info(state.dtype).block_values == 0, "the head is not a whole number of the format's blocks of 32");
}
Support accepts_rope_cache(const Problem& p) {
  if (auto k = is_cache(p.in[4]); !k) return k;
  return is_cache(p.in[5]);
}

}  // namespace

void kv_write(Registry::Adder registry) {
  registry.add({.op = KvWrite::name,
                .variant = "1_warp",
                .note = "a warp per 32 values, a block of the coded formats: its extremes are found by shuffles, its high bits by a vote",
                .preference = 1,
                .accepts = [](const Problem& p) { return is_cache(p.in[0]); },
                .run = run_write});
  registry.add({.op = RopeCache::name,
                .variant = "1_warp",
                .note = "one launch instead of four: the rotated key is coded where it was computed",
                .preference = 1,
                .accepts = accepts_rope_cache,
                .run = run_rope_cache});
}

}  // namespace kerf::KERF_GPU_NS
