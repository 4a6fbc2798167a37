// rope_cache, rung 1: for each token rotates q into the output and k into scratch, then writes the rotated k and v into the
// cache as kv_write does.
#include "backends/cpu/rope_heads.h"
#include "backends/cpu/simd_loop.h"
#include "backends/cpu/simd_rung.h"
#include "quant/encode.h"

namespace kerf::cpu {
namespace {

void write_heads(const TensorView& state, const float* x, int64_t position) {
  const int64_t context = state.desc.shape[2], head_dim = state.desc.shape[3];
  for (int64_t h = 0; h < state.desc.shape[1]; ++h)
    quant::encode_row(state.desc.dtype, x + h * head_dim, head_dim, state.row<std::byte>(h * context + position));
}

void run(const Problem& p, const Call& call) {
  const Rope& op = rope_of(p);
  const TensorView &q = call.in[0], &k = call.in[1], &v = call.in[2], &table = call.in[3];
  const auto* position = call.in[6].as<int32_t>();
  const int64_t q_cols = q.desc.cols(), k_cols = k.desc.cols(), dims = table.desc.cols();
  for_each_rows(call.pool, q.desc.rows(), q_cols + 2 * k_cols, [&](int64_t begin, int64_t end) {
    float* rotated = reinterpret_cast<float*>(call.scratch.data()) + begin * k_cols;
    for (int64_t t = begin; t < end; ++t) {
      rotate_heads(op, q.row<float>(t), q_cols, table.row<float>(t), dims, call.out[0].row<float>(t));
      rotate_heads(op, k.row<float>(t), k_cols, table.row<float>(t), dims, rotated);
      write_heads(call.out[1], rotated, position[t]);
      write_heads(call.out[2], v.row<float>(t), position[t]);
    }
  });
}

}  // namespace

void rope_cache_1_plain(Registry::Adder r);
void rope_cache_1_plain(Registry::Adder r) {
  add_rung(r, {.op = RopeCache::name,
               .variant = "1_plain",
               .note = "one pass over the tokens instead of two rope and two kv_write steps",
               .preference = 1,
               .accepts = accepts_rope_cache,
               .run = run,
               .scratch_bytes = rope_cache_scratch});
}

}  // namespace kerf::cpu
