// kv_write: state[h][positions[t]] = x[t][h], encoded in the state's format (quant/encode.h). State and output are
// one memory: rows that no position names keep their bytes.
#include "backends/reference/definitions.h"
#include "quant/encode.h"

namespace kerf::reference {

void write_rows(const TensorView& state, const TensorView& x, const TensorView& positions) {
  const int64_t n_kv = state.desc.shape[1], n_ctx = state.desc.shape[2], hd = state.desc.shape[3];
  for (int64_t t = 0; t < x.desc.rows(); ++t)
    for (int64_t h = 0; h < n_kv; ++h)
      quant::encode_row(state.desc.dtype, x.row<const float>(t) + h * hd, hd, state.row<std::byte>(h * n_ctx + positions.as<const int32_t>()[t]));
}

namespace {

void run(const Problem&, const Call& call) { write_rows(call.out[0], call.in[1], call.in[2]); }

Support accepts(const Problem& p) {
  const TensorDesc& state = p.in[0];
  if (auto a = require(quant::is_cache_type(state.dtype), "the state is not f32, f16, bf16, q8_0, q5_1, q5_0, q4_1 or q4_0"); !a) return a;
  return require(state.cols() % info(state.dtype).block_values == 0, "the head is not a whole number of the format's blocks of 32");
}

}  // namespace

void kv_write(Registry::Adder registry) { registry.add({.op = KvWrite::name, .note = "the definition", .accepts = accepts, .run = run}); }

}  // namespace kerf::reference
