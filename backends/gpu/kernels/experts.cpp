// expert_matmul, expert_swiglu and expert_matmul_sum whose products are launches of their own: what the fused ops do with them is a
// launch behind. Gate and up may be of different formats here.
#include "backends/gpu/experts.h"

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

void multiply_plain(const Problem& p, const Call& call, size_t w, float* out) {
  ExpertArgs a = expert_args(p, call, w);
  a.out = out;
  quant::Formats::visit(p.in[w].dtype, [&]<class F>(F) {
    launch(call, {.kernel = "plain", .blocks = {blocks_for(a.N, kThreads), static_cast<unsigned>(a.slots)}, .threads = kThreads}, plain<F>, a);
  });
}

struct CombineArgs {
  const float* y;        // [slots, N]: up, or the products that are added
  const float* weights;  // [T, used]
  float* out;            // [slots, N], holding gate; or [T, N]
  int64_t n, N;
  int used;
};

KERF_GLOBAL(kThreads) combine_swiglu(CombineArgs a) {
  const int64_t i = static_cast<int64_t>(block_x()) * kThreads + thread_x();
  if (i < a.n) a.out[i] = a.out[i] / (1 + expf(-a.out[i])) * a.y[i];
}

/// In the order of the slots.
KERF_GLOBAL(kThreads) combine_sum(CombineArgs a) {
  const int64_t i = static_cast<int64_t>(block_x()) * kThreads + thread_x();
  if (i >= a.n) return;
  const int64_t first = i / a.N * a.used, column = i % a.N;
  float sum = 0;
  for (int64_t s = first; s < first + a.used; ++s) sum = fmaf(a.weights[s], a.y[s * a.N + column], sum);
  a.out[i] = sum;
}

using Multiply = void (*)(const Problem&, const Call&, size_t w, float* out);

/// The op by products [slots, N] of one matrix at a time, and its scratch memory.
template <class Op, Multiply multiply>
void run_products(const Problem& p, const Call& call) {
  auto* const scratch = reinterpret_cast<float*>(call.scratch.data());
  auto* const out = call.out[0].as<float>();
  const CombineArgs c{.y = scratch,
                      .weights = expert_args(p, call).weights,
                      .out = out,
                      .n = p.out[0].size(),
                      .N = p.out[0].cols(),
                      .used = static_cast<int>(p.in[expert_inputs(p.op)->ids].cols())};
  const Launch shape{.kernel = "combine", .blocks = {blocks_for(c.n, kThreads)}, .threads = kThreads};
  multiply(p, call, 1, std::is_same_v<Op, ExpertMatMulSum> ? scratch : out);
  if constexpr (std::is_same_v<Op, ExpertSwiGlu>) {
    multiply(p, call, 2, scratch);
    launch(call, shape, combine_swiglu, c);
  }
  if constexpr (std::is_same_v<Op, ExpertMatMulSum>) launch(call, shape, combine_sum, c);
}
template <class Op>
size_t product_bytes(const Problem& p) {
  return std::is_same_v<Op, ExpertMatMul> ? 0 : static_cast<size_t>(p.in[expert_inputs(p.op)->ids].size() * p.out[0].cols()) * sizeof(float);
}

template <class Op>
void add_rungs(Registry::Adder& registry) {
  registry.add({.op = Op::name,
                .variant = "1_plain",
                .note = "a thread per row of the slot's expert decodes value by value; fused ops in steps, through scratch memory",
                .preference = 1,
                .accepts = [](const Problem& p) { return accepts_experts(p, DType::f32); },
                .scratch_bytes = product_bytes<Op>,
                .run = run_products<Op, multiply_plain>});
}

}  // namespace

void experts(Registry::Adder registry) {
  add_rungs<ExpertMatMul>(registry);
  add_rungs<ExpertSwiGlu>(registry);
  add_rungs<ExpertMatMulSum>(registry);
}

}  // namespace kerf::KERF_GPU_NS
