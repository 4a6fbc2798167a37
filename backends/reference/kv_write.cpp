// kv_write: state[h][positions[t]] = x[t][h], rounded to the state's format (nearest, ties to even). State and output are
// one memory: rows that no position names keep their bytes.
#include "core/half.h"
#include "core/kernel.h"

namespace kerf::reference {
namespace {

void run(const Problem&, const Call& call) {
  const auto &x = call.in[1], &state = call.out[0];
  const int64_t n_kv = state.desc.shape[1], n_ctx = state.desc.shape[2], hd = state.desc.shape[3];
  for (int64_t t = 0; t < x.desc.rows(); ++t)
    for (int64_t h = 0; h < n_kv; ++h) {
      const int64_t row = h * n_ctx + call.in[2].as<const int32_t>()[t];
      for (int64_t d = 0; d < hd; ++d) {
        const float value = x.row<const float>(t)[h * hd + d];
        if (state.desc.dtype == DType::f32) state.row<float>(row)[d] = value;
        if (state.desc.dtype == DType::f16) state.row<uint16_t>(row)[d] = float_to_half(value);
        if (state.desc.dtype == DType::bf16) state.row<uint16_t>(row)[d] = float_to_bf16(value);
      }
    }
}

Support accepts(const Problem& p) {
  const DType t = p.in[0].dtype;
  return require(t == DType::f32 || t == DType::f16 || t == DType::bf16, "the state is not f32, f16 or bf16");
}

}  // namespace

void kv_write(Registry::Adder registry) { registry.add({.op = KvWrite::name, .note = "the definition", .accepts = accepts, .run = run}); }

}  // namespace kerf::reference
