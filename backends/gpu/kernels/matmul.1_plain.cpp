// 1_plain: a thread per output, any format, one value after the other through the format's definition.
#include "backends/gpu/kernels/product.h"

namespace kerf::KERF_GPU_NS {
namespace {

constexpr int kThreads = 128;

template <class F>
KERF_GLOBAL(kThreads)
dot_plain(Product p) {
  constexpr int kValues = info(F::dtype).block_values;
  const int64_t i = static_cast<int64_t>(block_x()) * kThreads + thread_x();
  if (i >= p.T * p.N) return;
  const int64_t t = i / p.N, n = i % p.N;
  const auto* x = reinterpret_cast<const float*>(p.x + t * p.x_bytes);
  const auto* w = reinterpret_cast<const typename F::Block*>(p.w + n * p.w_bytes);
  float sum = 0;
  for (int64_t b = 0; b < p.K / kValues; ++b)
    for (int j = 0; j < kValues; ++j) sum = fmaf(x[b * kValues + j], F::at(w[b], j), sum);
  write(p, t, n, sum);
}

void run(const Problem& problem, const Call& call) {
  for_each_product(problem, call, [&](const Product& p, DType weights) {
    quant::Formats::visit(weights, [&]<class F>(F) {
      launch(call, {.kernel = "dot_plain", .blocks = {blocks_for(p.T * p.N, kThreads)}, .threads = kThreads}, dot_plain<F>, p);
    });
  });
}

}  // namespace

void matmul_1_plain(Registry::Adder registry) {
  add_products(registry, {.variant = "1_plain",
                          .note = "a thread per output element, weights decoded one by one",
                          .preference = 1,
                          .accepts =
                              [](const Problem& p) {
                                if (p.in[0].dtype != DType::f32) return Support{"reads f32 activations"};
                                return require(all_weights(p, is_decodable), "the weights' format has no decoder here");
                              },
                          .run = run});
}

}  // namespace kerf::KERF_GPU_NS
