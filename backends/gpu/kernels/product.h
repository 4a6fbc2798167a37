// What the kernels of MatMul, MatMuls and MatMulSwiGlu share: each of these ops is one or more products y = x w^T, where a kernel does
// one thing more with a sum before it writes it. So a rung of the ladder serves all three.
#pragma once
#include "backends/gpu/kernels/unpack.h"

namespace kerf::KERF_GPU_NS {

/// What becomes of a sum: y = sum; y = sum + other; y = silu(y) * sum, where the product before has left the gate in y.
enum class Finish : uint8_t { none, add, swiglu };

struct Product {
  const std::byte* x;                             // [T,K]
  const std::byte* w;                             // [N,K]
  const float* other;                             // [T,N], or [N]: then other_step is 0
  float* y;                                       // [T,N]
  int64_t T, N, K, x_bytes, w_bytes, other_step;  // bytes of a row
  Finish finish;
};

KERF_DEVICE void write(const Product& p, int64_t t, int64_t n, float sum) {
  float& y = p.y[t * p.N + n];
  if (p.finish == Finish::add) sum += p.other[t * p.other_step + n];
  if (p.finish == Finish::swiglu) sum *= silu(y);
  y = sum;
}

/// A tile of sums in shared memory, of `tokens` x `rows` and `stride` apart, to the output: consecutive threads write consecutive
/// values. It is a loop that is not unrolled, so that what finishing takes is there once and not for every sum of a thread.
/// checked(sum, t, n) is what is written.
template <int threads, int tokens, int rows, int stride, class Fn>
KERF_DEVICE void write_tile(const Product& p, const float (&sums)[tokens][stride], int64_t t0, int64_t n0, Fn&& checked) {
  block_sync();
  for (int i = static_cast<int>(thread_x()); i < tokens * rows; i += threads) {
    const int64_t t = t0 + i / rows, n = n0 + i % rows;
    if (t < p.T && n < p.N) write(p, t, n, checked(sums[i / rows][i % rows], t, n));
  }
}

/// Weights among the inputs.
inline size_t weights_of(const Problem& p) {
  const auto* several = std::get_if<MatMuls>(&p.op);
  return several ? static_cast<size_t>(several->count) : p.in.size() - 1;
}

/// run(product, type of its weights) for each product of the op, in order.
template <class Fn>
void for_each_product(const Problem& p, const Call& call, Fn&& run) {
  const TensorView& x = call.in[0];
  const size_t count = weights_of(p);
  const bool glu = std::holds_alternative<MatMulSwiGlu>(p.op);
  for (size_t i = 0; i < count; ++i) {
    const TensorView &w = call.in[1 + i], &y = call.out[glu ? 0 : i];
    Product product{.x = x.as<const std::byte>(),
                    .w = w.as<const std::byte>(),
                    .other = nullptr,
                    .y = y.as<float>(),
                    .T = x.desc.rows(),
                    .N = w.desc.rows(),
                    .K = x.desc.cols(),
                    .x_bytes = x.desc.row_bytes(),
                    .w_bytes = w.desc.row_bytes(),
                    .other_step = 0,
                    .finish = glu && i == 1 ? Finish::swiglu : Finish::none};
    if (!glu && call.in.size() > 1 + count) {
      const TensorView& other = call.in[1 + count + i];
      product.finish = Finish::add;
      product.other = other.as<const float>();
      product.other_step = other.desc.rows() == 1 ? 0 : product.N;
    }
    run(product, w.desc.dtype);
  }
}

/// Whether fits(type) for all weights.
template <class Fn>
bool all_weights(const Problem& p, Fn&& fits) {
  for (size_t i = 0; i < weights_of(p); ++i)
    if (!fits(p.in[1 + i].dtype)) return false;
  return true;
}
/// The kernel for the three ops.
inline void add_products(Registry::Adder& registry, Kernel kernel) {
  for (const auto op : {MatMul::name, MatMuls::name, MatMulSwiGlu::name}) {
    kernel.op = op;
    registry.add(kernel);
  }
}

}  // namespace kerf::KERF_GPU_NS
