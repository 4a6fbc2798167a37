// rope_cache in vectors: rope (simd_rope.h) of q and k and kv_write (simd_kv_write.h) of k and v, token by token. The
// rotated keys of a token stay in L1 between the two; and four steps, each of which all threads would have to end, are one.
#pragma once
#include "backends/cpu/simd_kv_write.h"
#include "backends/cpu/simd_rope.h"

namespace kerf::cpu {
inline namespace KERF_ISA {

template <class B>
void rope_cache(const Problem& p, const Call& call) {
  const TensorView &q = call.in[0], &k = call.in[1], &v = call.in[2], &table = call.in[3], &q_out = call.out[0];
  const auto* position = call.in[6].as<int32_t>();
  const Rope& op = rope_of(p);
  const int64_t half = table.desc.cols() / 2, q_cols = q.desc.cols(), k_cols = k.desc.cols();
  const auto write = [&](const TensorView& state, const float* x, int64_t t) {
    const int64_t context = state.desc.shape[2], head_dim = state.desc.shape[3];
    for (int64_t h = 0; h < state.desc.shape[1]; ++h)
      write_row<B>(x + h * head_dim, state.desc.dtype, state.row<std::byte>(h * context + position[t]), head_dim);
  };
  for_each_rows(call.pool, q.desc.rows(), q_cols + 2 * k_cols, [&](int64_t begin, int64_t end) {
    float* rotated = reinterpret_cast<float*>(call.scratch.data()) + begin * k_cols;
    for (int64_t t = begin; t < end; ++t) {
      const float *cosine = table.row<float>(t), *sine = cosine + half;
      rope_row<B>(op.pairing, {q.row<float>(t), cosine, sine, q_out.row<float>(t), q_cols, op.head_dim, half});
      rope_row<B>(op.pairing, {k.row<float>(t), cosine, sine, rotated, k_cols, op.head_dim, half});
      write(call.out[1], rotated, t);
      write(call.out[2], v.row<float>(t), t);
    }
  });
}

}  // namespace KERF_ISA
}  // namespace kerf::cpu
