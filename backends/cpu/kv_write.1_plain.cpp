// kv_write, rung 1: the new keys or values of T tokens go into rows positions[t] of the cache of every head, rounded to
// the cache's format. Only those rows are touched: the output is the same memory as the state.
#include "backends/cpu/simd_loop.h"
#include "backends/cpu/simd_rung.h"
#include "quant/encode.h"

namespace kerf::cpu {
namespace {

void run(const Problem&, const Call& call) {
  const TensorView &x = call.in[1], &state = call.out[0];
  const auto* position = call.in[2].as<int32_t>();
  const int64_t heads = state.desc.shape[1], context = state.desc.shape[2], head_dim = state.desc.shape[3];
  for_each_rows(call.pool, x.desc.rows(), x.desc.cols(), [&](int64_t begin, int64_t end) {
    for (int64_t t = begin; t < end; ++t)
      for (int64_t h = 0; h < heads; ++h)
        quant::encode_row(state.desc.dtype, x.row<float>(t) + h * head_dim, head_dim, state.row<std::byte>(h * context + position[t]));
  });
}

}  // namespace

void kv_write_1_plain(Registry::Adder r);
void kv_write_1_plain(Registry::Adder r) {
  add_rung(r, {.op = KvWrite::name,
               .variant = "1_plain",
               .note = "rounds or codes value by value in scalar arithmetic",
               .preference = 1,
               .accepts = accepts_kv_write,
               .run = run});
}

}  // namespace kerf::cpu
