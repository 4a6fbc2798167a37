// expert_matmul, expert_swiglu and expert_matmul_sum, rung 1.
#include "backends/gpu/kernels/expert_products.h"

namespace kerf::KERF_GPU_NS {
namespace {

constexpr int kThreads = 256;

/// Block (i, s): rows i * kThreads .. of the matrix of slot s, one a thread.
template <class F>
KERF_GLOBAL(kThreads)
plain(ExpertArgs a) {
  constexpr int kValues = info(F::dtype).block_values;
  const int64_t n = static_cast<int64_t>(block_x()) * kThreads + thread_x(), s = block_y();
  if (n >= a.N) return;
  const auto* x = static_cast<const float*>(a.activations(s));
  const auto* blocks = static_cast<const typename F::Block*>(a.row(a.w, s, n));
  float sum = 0;
  for (int64_t k = 0; k < a.K; ++k) sum = fmaf(x[k], F::at(blocks[k / kValues], static_cast<int>(k % kValues)), sum);
  a.out[s * a.N + n] = sum;
}

struct Plain {
  static size_t bytes(const Problem&) { return 0; }
  static void prepare(const Problem&, const Call&, std::byte*) {}
  static void multiply(const Problem& p, const Call& call, size_t w, float* out, std::byte*) {
    ExpertArgs a = expert_args(p, call, w);
    a.out = out;
    quant::Formats::visit(p.in[w].dtype, [&]<class F>(F) {
      launch(call, {.kernel = "plain", .blocks = {blocks_for(a.N, kThreads), static_cast<unsigned>(a.slots)}, .threads = kThreads}, plain<F>, a);
    });
  }
};

template <class Op>
void add_rung(Registry::Adder& registry) {
  registry.add({.op = Op::name,
                .variant = "1_plain",
                .note = "a thread per row of the slot's expert decodes value by value; fused ops in steps, through scratch memory",
                .preference = 1,
                .accepts = [](const Problem& p) { return accepts_experts(p, DType::f32); },
                .scratch_bytes = products_scratch<Op, Plain>,
                .run = run_products<Op, Plain>});
}

}  // namespace

void experts_1_plain(Registry::Adder registry) {
  add_rung<ExpertMatMul>(registry);
  add_rung<ExpertSwiGlu>(registry);
  add_rung<ExpertMatMulSum>(registry);
}

}  // namespace kerf::KERF_GPU_NS
