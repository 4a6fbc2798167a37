// attention, rung 1: one pass over the keys. Instead of keeping all scores of a row, keep their maximum, the sum of their
// exponentials and the weighted sum of values; a new maximum rescales what is there (Milakov & Gimelshein 2018). Memory per
// row falls from n_ctx scores to hd sums. It costs one exp and one row of K and V per (query head, key): nothing is shared
// between the heads of a group or between tokens. Any head size, any cache format of 16 or 32 bits.
#include <array>
#include <vector>

#include "attention/online_softmax.h"
#include "attention/spec.h"
#include "core/half.h"
#include "core/kernel.h"
#include "core/threadpool.h"

namespace kerf::cpu {
namespace {

float load_f32(const void* row, int64_t i) { return static_cast<const float*>(row)[i]; }
float load_f16(const void* row, int64_t i) { return half_to_float(static_cast<const uint16_t*>(row)[i]); }
float load_bf16(const void* row, int64_t i) { return bf16_to_float(static_cast<const uint16_t*>(row)[i]); }

template <float (*load_k)(const void*, int64_t), float (*load_v)(const void*, int64_t)>
void attend(const Attention& op, const Call& call, int64_t t, int64_t head) {
  const auto &k = call.in[1], &v = call.in[2];
  const int64_t n_ctx = k.desc.shape[2], hd = k.desc.shape[3], base = attention::kv_head(head, op.n_head, k.desc.shape[1]) * n_ctx;
  const float* q = call.in[0].row<const float>(t) + head * hd;
  float* out = call.out[0].row<float>(t) + head * hd;
  const auto keys = attention::visible_keys(call.in[3].as<const int32_t>()[t], op.window);
  attention::State<float> state;
  std::fill(out, out + hd, 0.f);
  for (int64_t s = keys.begin; s < keys.end; ++s) {
    const void *key = k.row<const std::byte>(base + s), *value = v.row<const std::byte>(base + s);
    std::array<float, 4> part{};  // four chains: half the rounding error of one, and they overlap
    int64_t d = 0;
    for (; d + 4 <= hd; d += 4)
      for (int64_t j = 0; j < 4; ++j) part[j] += q[d + j] * load_k(key, d + j);
    for (; d < hd; ++d) part[0] += q[d] * load_k(key, d);
    const auto merged = attention::merge(state, attention::single(op.scale * ((part[0] + part[1]) + (part[2] + part[3]))));
    for (d = 0; d < hd; ++d) out[d] = out[d] * merged.a + load_v(value, d) * merged.b;
    state = merged.state;
  }
  for (int64_t d = 0; d < hd; ++d) out[d] /= state.sum;
}

void run(const Problem& p, const Call& call) {
  const auto& op = std::get<Attention>(p.op);
  const DType type = p.in[1].dtype;
  const auto row = type == DType::f32 ? attend<load_f32, load_f32> : type == DType::f16 ? attend<load_f16, load_f16> : attend<load_bf16, load_bf16>;
  call.pool.parallel_for(p.in[0].rows() * op.n_head, [&](int64_t i) { row(op, call, i / op.n_head, i % op.n_head); });
}

Support accepts(const Problem& p) {
  const DType k = p.in[1].dtype;
  return require(k == p.in[2].dtype && (k == DType::f32 || k == DType::f16 || k == DType::bf16), "keys and values are not both f32, f16 or bf16");
}

}  // namespace

void attention_1_online(Registry::Adder registry) {
  registry.add({.op = Attention::name,
                .variant = "1_online",
                .note = "one pass with a running maximum: no row of scores is kept",
                .preference = 1,
                .accepts = accepts,
                .run = run});
}

}  // namespace kerf::cpu
