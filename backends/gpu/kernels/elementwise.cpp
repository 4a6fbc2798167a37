// Ops that compute each value from the same place of their inputs: a thread per value.
#include "backends/gpu/gpu.h"

namespace kerf::KERF_GPU_NS {
namespace {

constexpr int kThreads = 256;

struct PairArgs {
  const float *a, *b;  // [rows, cols]; b: one value a row (b_cols 1), one row for all (b_rows 1), or as a
  float* y;
  int64_t n, cols;
  bool b_is_row, b_is_column;
};

struct Sum {
  static constexpr std::string_view name = Add::name;
  KERF_DEVICE static float of(float a, float b) { return a + b; }
};
struct Swish {
  static constexpr std::string_view name = SwiGlu::name;
  KERF_DEVICE static float of(float gate, float up) { return silu(gate) * up; }
};
struct Gate {
  static constexpr std::string_view name = SigmoidGate::name;
  KERF_DEVICE static float of(float x, float gate) { return x / (1 + expf(-gate)); }
};

template <class F>
KERF_GLOBAL(kThreads)
pairwise(PairArgs a) {
  const int64_t i = static_cast<int64_t>(block_x()) * kThreads + thread_x();
  if (i >= a.n) return;
  const int64_t other = a.b_is_row ? i % a.cols : a.b_is_column ? i / a.cols : i;
  a.y[i] = F::of(a.a[i], a.b[other]);
}

template <class F>
void run_pairs(const Problem&, const Call& call) {
  const TensorView &a = call.in[0], &b = call.in[1];
  const PairArgs args{.a = a.as<const float>(),
                      .b = b.as<const float>(),
                      .y = call.out[0].as<float>(),
                      .n = a.desc.size(),
                      .cols = a.desc.cols(),
                      .b_is_row = b.desc.rows() == 1 && b.desc.cols() == a.desc.cols(),
                      .b_is_column = b.desc.cols() == 1 && a.desc.cols() != 1};
  launch(call, {.kernel = "pairwise", .blocks = {blocks_for(args.n, kThreads)}, .threads = kThreads}, pairwise<F>, args);
}

template <class F>
void add_pairs(Registry::Adder& registry) {
  registry.add({.op = F::name,
                .variant = "1_thread",
                .note = "a thread per value; a warp reads and writes 128 consecutive bytes",
                .preference = 1,
                .accepts = [](const Problem& p) { return require(p.in[0].dtype == DType::f32 && p.in[1].dtype == DType::f32, "reads f32"); },
                .run = run_pairs<F>});
}

}  // namespace

void elementwise(Registry::Adder registry) {
  add_pairs<Sum>(registry);
  add_pairs<Swish>(registry);
  add_pairs<Gate>(registry);
}

}  // namespace kerf::KERF_GPU_NS
