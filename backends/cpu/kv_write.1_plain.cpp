// kv_write, rung 1: the new keys or values of T tokens go into rows positions[t] of the cache of every head, rounded to
// the cache's format. Only those rows are touched: the output is the same memory as the state.
#include <cstring>

#include "backends/cpu/simd_loop.h"
#include "backends/cpu/simd_rung.h"
#include "core/half.h"

namespace kerf::cpu {
namespace {

void round_row(const float* x, DType to, std::byte* out, int64_t n) {
  auto* halves = reinterpret_cast<uint16_t*>(out);
  if (to == DType::f32) std::memcpy(out, x, static_cast<size_t>(n) * sizeof(float));
  if (to == DType::f16)
    for (int64_t i = 0; i < n; ++i) halves[i] = float_to_half(x[i]);
  if (to == DType::bf16)
    for (int64_t i = 0; i < n; ++i) halves[i] = float_to_bf16(x[i]);
}

void run(const Problem&, const Call& call) {
  const TensorView &x = call.in[1], &state = call.out[0];
  const auto* position = call.in[2].as<int32_t>();
  const int64_t heads = state.desc.shape[1], context = state.desc.shape[2], head_dim = state.desc.shape[3];
  for_each_rows(call.pool, x.desc.rows(), x.desc.cols(), [&](int64_t begin, int64_t end) {
    for (int64_t t = begin; t < end; ++t)
      for (int64_t h = 0; h < heads; ++h)
        round_row(x.row<float>(t) + h * head_dim, state.desc.dtype, state.row<std::byte>(h * context + position[t]), head_dim);
  });
}

}  // namespace

void kv_write_1_plain(Registry::Adder r);
void kv_write_1_plain(Registry::Adder r) {
  add_rung(r, {.op = KvWrite::name,
               .variant = "1_plain",
               .note = "rounds value by value with integer arithmetic",
               .preference = 1,
               .accepts = accepts_kv_write,
               .run = run});
}

}  // namespace kerf::cpu
