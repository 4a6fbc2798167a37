// What all kernels of expert_matmul, expert_swiglu and expert_matmul_sum know of a problem. Slot s of token s / used reads the
// matrix of expert ids[s]; its activations are row s of x, or the row of its token.
#pragma once
#include "backends/gpu/kernels/unpack.h"

namespace kerf::KERF_GPU_NS {

struct ExpertArgs {
  const void* x;                          // [T, K] or [slots, K]
  const void *w, *up;                     // [X, N, K]; up: of expert_swiglu
  const int32_t* ids;                     // [T, used]
  const float* weights;                   // as ids, of expert_matmul_sum
  float* out;                             // [slots, N]; of expert_matmul_sum [T, N]
  int64_t K, N, x_bytes, w_bytes, slots;  // x_bytes, w_bytes: of a row
  int used;
  bool by_slot;

  KERF_DEVICE const void* activations(int64_t s) const { return static_cast<const char*>(x) + (by_slot ? s : s / used) * x_bytes; }
  /// Row n of the slot's expert, of w or up.
  KERF_DEVICE const void* row(const void* of, int64_t s, int64_t n) const { return static_cast<const char*>(of) + (ids[s] * N + n) * w_bytes; }
};

/// Of the product with input `w`. `out` is the op's output, where rungs with steps of their own put something else.
inline ExpertArgs expert_args(const Problem& p, const Call& call, size_t w = 1) {
  const ExpertInputs e = *expert_inputs(p.op);
  const TensorDesc &x = p.in[0], &weights = p.in[w], &ids = p.in[e.ids];
  return {.x = call.in[0].data,
          .w = call.in[w].data,
          .up = e.count == 2 ? call.in[2].data : nullptr,
          .ids = call.in[e.ids].as<const int32_t>(),
          .weights = std::holds_alternative<ExpertMatMulSum>(p.op) ? call.in[3].as<const float>() : nullptr,
          .out = call.out[0].as<float>(),
          .K = x.cols(),
          .N = weights.shape[2],
          .x_bytes = x.row_bytes(),
          .w_bytes = weights.row_bytes(),
          .slots = ids.size(),
          .used = static_cast<int>(ids.cols()),
          .by_slot = x.rows() == ids.size()};
}

/// What the experts of a token made of one column, in the order of its slots, the first of which is `first`. y [slots, N].
KERF_DEVICE float sum_of_slots(const float* weights, const float* y, int64_t first, int used, int64_t N, int64_t column) {
  float sum = 0;
  for (int64_t s = first; s < first + used; ++s) sum = fmaf(weights[s], y[s * N + column], sum);
  return sum;
}

inline Support accepts_experts(const Problem& p, DType x) {
  const ExpertInputs e = *expert_inputs(p.op);
  if (p.in[0].dtype != x) return {"activations are in another format"};
  for (size_t i = e.first; i < e.first + e.count; ++i)
    if (!is_decodable(p.in[i].dtype)) return {"the weights' format has no decoder"};
  return require(p.in[e.ids].size() < 65536, "more slots than a grid has rows");
}

}  // namespace kerf::KERF_GPU_NS
