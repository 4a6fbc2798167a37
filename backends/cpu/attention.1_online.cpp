// attention, rung 1: one pass over the keys. Instead of keeping all scores of a row, keep their maximum, the sum of their
// exponentials and the weighted sum of values; a new maximum rescales what is there (Milakov & Gimelshein 2018). Memory per
// row falls from n_ctx scores to hd sums. It costs one exp and one row of K and V per (query head, key): nothing is shared
// between the heads of a group or between tokens. Any head size, any cache
// formats, decoded row by row.
#include <array>
#include <vector>

#include "attention/online_softmax.h"
#include "attention/spec.h"
#include "backends/cpu/attention_tiled.h"
#include "core/kernel.h"
#include "core/threadpool.h"
#include "quant/formats.h"

namespace kerf::cpu {
namespace {

/// Row `r` of a cache as floats: where it is, or decoded into `memory`.
const float* row_of(const TensorView& state, int64_t r, std::vector<float>& memory) {
  if (state.desc.dtype == DType::f32) return state.row<const float>(r);
  memory.resize(static_cast<size_t>(state.desc.cols()));
  quant::decode_row(state.desc.dtype, state.row<const std::byte>(r), state.desc.cols(), memory.data());
  return memory.data();
}

void attend(const Attention& op, const Call& call, int64_t t, int64_t head) {
  const auto &k = call.in[1], &v = call.in[2];
  const int64_t n_ctx = k.desc.shape[2], hd = k.desc.shape[3], base = attention::kv_head(head, op.n_head, k.desc.shape[1]) * n_ctx;
  const float* q = call.in[0].row<const float>(t) + head * hd;
  float* out = call.out[0].row<float>(t) + head * hd;
  const auto keys = attention::visible_keys(call.in[3].as<const int32_t>()[t], op.window);
  attention::State<float> state;
  std::vector<float> key_memory, value_memory;
  std::fill(out, out + hd, 0.f);
  for (int64_t s = keys.begin; s < keys.end; ++s) {
    const float *key = row_of(k, base + s, key_memory), *value = row_of(v, base + s, value_memory);
    std::array<float, 4> part{};  // four chains: half the rounding error of one, and they overlap
    int64_t d = 0;
    for (; d + 4 <= hd; d += 4)
      for (int64_t j = 0; j < 4; ++j) part[j] += q[d + j] * key[d + j];
    for (; d < hd; ++d) part[0] += q[d] * key[d];
    const auto merged = attention::merge(state, attention::single(op.scale * ((part[0] + part[1]) + (part[2] + part[3]))));
    for (d = 0; d < hd; ++d) out[d] = out[d] * merged.a + value[d] * merged.b;
    state = merged.state;
  }
  for (int64_t d = 0; d < hd; ++d) out[d] /= state.sum;
}

void run(const Problem& p, const Call& call) {
  const auto& op = std::get<Attention>(p.op);
  call.pool.parallel_for(p.in[0].rows() * op.n_head, [&](int64_t i) { attend(op, call, i / op.n_head, i % op.n_head); });
}

}  // namespace

void attention_1_online(Registry::Adder registry) {
  registry.add({.op = Attention::name,
                .variant = "1_online",
                .note = "one pass with a running maximum: no row of scores is kept",
                .preference = 1,
                .accepts = cache_accepts,
                .run = run});
}

}  // namespace kerf::cpu
