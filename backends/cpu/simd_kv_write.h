// kv_write in vectors: the conversion to binary16 is one instruction per vector (F16C, AVX-512F) instead of the dozen
// integer operations of core/half.h; it rounds to nearest even like them. bfloat16 is the integer rounding of
// core/half.h, which compilers turn into vectors by themselves.
#pragma once
#include "backends/cpu/simd_batch.h"
#include "backends/cpu/simd_loop.h"
#include "backends/cpu/simd_rung.h"
#include "core/half.h"

namespace kerf::cpu {
inline namespace KERF_ISA {

template <class B, class ToHalf>
inline void round_to_half(const float* x, uint16_t* out, int64_t n) {
  int64_t i = 0;
  for (; i + kLanes<B> <= n; i += kLanes<B>) ToHalf::store(B::load_unaligned(x + i), out + i);
  for (; i < n; ++i) out[i] = float_to_half(x[i]);
}

/// @tparam ToHalf  store(batch, uint16_t*) rounds one vector to binary16.
template <class B, class ToHalf>
void kv_write(const Problem&, const Call& call) {
  const TensorView &x = call.in[1], &state = call.out[0];
  const auto* position = call.in[2].as<int32_t>();
  const DType to = state.desc.dtype;
  const int64_t heads = state.desc.shape[1], context = state.desc.shape[2], head_dim = state.desc.shape[3];
  for_each_rows(call.pool, x.desc.rows(), x.desc.cols(), [&](int64_t begin, int64_t end) {
    for (int64_t t = begin; t < end; ++t)
      for (int64_t h = 0; h < heads; ++h) {
        const float* from = x.row<float>(t) + h * head_dim;
        const int64_t row = h * context + position[t];
        if (to == DType::f16) {
          round_to_half<B, ToHalf>(from, state.row<uint16_t>(row), head_dim);
        } else if (to == DType::bf16) {
          auto* out = state.row<uint16_t>(row);
          for (int64_t i = 0; i < head_dim; ++i) out[i] = float_to_bf16(from[i]);
        } else {
          auto* out = state.row<float>(row);
          for (int64_t i = 0; i < head_dim; ++i) out[i] = from[i];
        }
      }
  });
}

}  // namespace KERF_ISA
}  // namespace kerf::cpu
