// expert_matmul, expert_swiglu and expert_matmul_sum whose products are launches of their own: what the fused ops do with them is a
// launch behind. Gate and up may be of different formats here.
#pragma once
#include "backends/gpu/kernels/experts.h"

namespace kerf::KERF_GPU_NS {

constexpr int kCombineThreads = 256;

struct CombineArgs {
  const float* y;        // [slots, N]: up, or the products that are added
  const float* weights;  // [T, used]
  float* out;            // [slots, N], holding gate; or [T, N]
  int64_t n, N;
  int used;
};

template <class Op>
KERF_GLOBAL(kCombineThreads)
combine(CombineArgs a) {
  const int64_t i = static_cast<int64_t>(block_x()) * kCombineThreads + thread_x();
  if (i >= a.n) return;
  if constexpr (std::is_same_v<Op, ExpertSwiGlu>) {
    a.out[i] = silu(a.out[i]) * a.y[i];
  } else {
    a.out[i] = sum_of_slots(a.weights, a.y, i / a.N * a.used, a.used, a.N, i % a.N);
  }
}

/// Of scratch memory: products [slots, N] that are not the op's output.
template <class Op>
size_t product_bytes(const Problem& p) {
  const int64_t slots = p.in[expert_inputs(p.op)->ids].size();
  return std::is_same_v<Op, ExpertMatMul> ? 0 : static_cast<size_t>((slots * p.out[0].cols() * 4 + 63) / 64 * 64);
}

/// The op by products of one matrix at a time. How::prepare comes before them, How::multiply(p, call, w, out, scratch) makes one; both
/// have How::bytes of scratch memory.
template <class Op, class How>
void run_products(const Problem& p, const Call& call) {
  auto* const products = reinterpret_cast<float*>(call.scratch.data());
  std::byte* const scratch = call.scratch.data() + product_bytes<Op>(p);
  auto* const out = call.out[0].as<float>();
  How::prepare(p, call, scratch);
  How::multiply(p, call, 1, std::is_same_v<Op, ExpertMatMulSum> ? products : out, scratch);
  if constexpr (std::is_same_v<Op, ExpertSwiGlu>) How::multiply(p, call, 2, products, scratch);
  if constexpr (!std::is_same_v<Op, ExpertMatMul>) {
    const CombineArgs c{.y = products,
                        .weights = expert_args(p, call).weights,
                        .out = out,
                        .n = p.out[0].size(),
                        .N = p.out[0].cols(),
                        .used = static_cast<int>(p.in[expert_inputs(p.op)->ids].cols())};
    launch(call, {.kernel = "combine", .blocks = {blocks_for(c.n, kCombineThreads)}, .threads = kCombineThreads}, combine<Op>, c);
  }
}
template <class Op, class How>
size_t products_scratch(const Problem& p) {
  return product_bytes<Op>(p) + How::bytes(p);
}

}  // namespace kerf::KERF_GPU_NS
