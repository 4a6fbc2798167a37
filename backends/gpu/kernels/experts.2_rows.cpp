// expert_matmul, expert_swiglu and expert_matmul_sum for few tokens: a warp per two rows of a slot's expert, whose lanes take groups of
// sixteen values. Both rows share the activations; of expert_swiglu they are one of gate and one of up.
#include "backends/gpu/kernels/experts.h"
#include "backends/gpu/kernels/unpack.h"

namespace kerf::KERF_GPU_NS {
namespace {

/// Activations in f32.
struct FloatInput {
  static constexpr DType dtype = DType::f32;
  float x[16], sum;

  KERF_DEVICE FloatInput(const void* row, int64_t, int64_t group) : sum(0) {
    KERF_UNROLL
    for (int i = 0; i < 4; ++i) {
      const auto w = load<Words4>(static_cast<const float*>(row) + 16 * group + 4 * i);
      KERF_UNROLL
      for (int j = 0; j < 4; ++j) x[4 * i + j] = std::bit_cast<float>(w.w[j]);
    }
    KERF_UNROLL
    for (int i = 0; i < 16; ++i) sum += x[i];
  }
  template <class F>
  KERF_DEVICE float dot(const void* row, int64_t group) const {
    float result = 0;
    if constexpr (quant::AffineFormat<F>) {
      const Group g = group_of_row<F>(row, group);
      KERF_UNROLL
      for (int i = 0; i < 16; ++i) result = fmaf(code_as_float<F::kOffset>(g.code[i / 4], i % 4), x[i], result);
      result *= g.scale;
      if constexpr (F::kHasMin) result = fmaf(-g.min, sum, result);
    } else {
      struct alignas(4 * sizeof(typename F::Block)) Four {
        typename F::Block b[4];
      };
      KERF_UNROLL
      for (int i = 0; i < 4; ++i) {
        const auto four = load<Four>(static_cast<const typename F::Block*>(row) + 16 * group + 4 * i);
        KERF_UNROLL
        for (int j = 0; j < 4; ++j) result = fmaf(float_of<F>(four.b[j]), x[4 * i + j], result);
      }
    }
    return result;
  }
};

/// Activations in q8_g16 (quant/q8_g16.h): codes meet codes in integers, exactly.
struct ByteInput {
  static constexpr DType dtype = DType::q8_g16;
  Words4 q;
  float d, sum;

  KERF_DEVICE ByteInput(const void* row, int64_t K, int64_t group) {
    q = load<Words4>(static_cast<const int8_t*>(row) + 16 * group);
    const auto* scales = reinterpret_cast<const float*>(static_cast<const int8_t*>(row) + K);
    d = scales[group], sum = scales[K / 16 + group];
  }
  template <class F>
  KERF_DEVICE float dot(const void* row, int64_t group) const {
    const Group g = group_of_row<F>(row, group);
    int codes = 0;
    KERF_UNROLL
    for (int i = 0; i < 4; ++i) codes = dot4_us(g.code[i], q.w[i], codes);
    float result = g.scale * fmaf(static_cast<float>(-F::kOffset), sum, static_cast<float>(codes));
    if constexpr (F::kHasMin) result = fmaf(-g.min, sum, result);
    return d * result;
  }
};

struct Pair {
  float first, second;
};
template <class F, class Input>
KERF_DEVICE Pair dot_rows(const ExpertArgs& a, int64_t s, const void* first, const void* second) {
  Pair sums{0, 0};
  for (int64_t group = lane(); group < a.K / 16; group += kLanes) {
    const Input x(a.activations(s), a.K, group);
    sums.first += x.template dot<F>(first, group);
    sums.second += x.template dot<F>(second, group);
  }
  return {warp_sum(sums.first), warp_sum(sums.second)};
}

constexpr int kThreads = 128, kWarps = kThreads / kLanes;

/// Block (i, s): pairs of rows i * kWarps .. of slot s. The last row of an odd number is multiplied twice.
template <class F, class Input>
KERF_GLOBAL(kThreads)
multiply_rows(ExpertArgs a) {
  const int64_t n = 2 * (static_cast<int64_t>(block_x()) * kWarps + warp()), s = block_y(), next = n + 1 < a.N ? n + 1 : n;
  if (n >= a.N) return;
  const Pair y = dot_rows<F, Input>(a, s, a.row(a.w, s, n), a.row(a.w, s, next));
  if (lane() > 0) return;
  a.out[s * a.N + n] = y.first;
  a.out[s * a.N + next] = y.second;
}

/// Block (i, s): rows i * kWarps .. of gate and up of slot s.
template <class F, class Input>
KERF_GLOBAL(kThreads)
swiglu_rows(ExpertArgs a) {
  const int64_t n = static_cast<int64_t>(block_x()) * kWarps + warp(), s = block_y();
  if (n >= a.N) return;
  const Pair y = dot_rows<F, Input>(a, s, a.row(a.w, s, n), a.row(a.up, s, n));
  if (lane() == 0) a.out[s * a.N + n] = silu(y.first) * y.second;
}

constexpr int kMostUsed = 16;

/// Block (i, t): rows 2i and 2i + 1 of all experts of token t, one a warp; what they give is added in the order of the slots.
template <class F, class Input>
KERF_GLOBAL(kMostUsed* kLanes)
sum_rows(ExpertArgs a) {
  KERF_SHARED(float, part, [kMostUsed][2]);
  const int64_t n = 2 * static_cast<int64_t>(block_x()), t = block_y(), s = t * a.used + warp(), next = n + 1 < a.N ? n + 1 : n;
  const Pair y = dot_rows<F, Input>(a, s, a.row(a.w, s, n), a.row(a.w, s, next));
  if (lane() == 0) {
    part[warp()][0] = y.first;
    part[warp()][1] = y.second;
  }
  block_sync();
  const int64_t mine = n + thread_x();
  if (thread_x() > 1 || mine >= a.N) return;
  float sum = 0;
  for (int u = 0; u < a.used; ++u) sum = fmaf(a.weights[t * a.used + u], part[u][thread_x()], sum);
  a.out[t * a.N + mine] = sum;
}

template <class Op, class F, class Input>
void launch_rows(const Call& call, const ExpertArgs& a) {
  const auto slots = static_cast<unsigned>(a.slots), used = static_cast<unsigned>(a.used);
  if constexpr (std::is_same_v<Op, ExpertMatMul>)
    launch(call, {.kernel = "multiply_rows", .blocks = {blocks_for(a.N, 2 * kWarps), slots}, .threads = kThreads}, multiply_rows<F, Input>, a);
  else if constexpr (std::is_same_v<Op, ExpertSwiGlu>)
    launch(call, {.kernel = "swiglu_rows", .blocks = {blocks_for(a.N, kWarps), slots}, .threads = kThreads}, swiglu_rows<F, Input>, a);
  else
    launch(call, {.kernel = "sum_rows", .blocks = {blocks_for(a.N, 2), slots / used}, .threads = used * kLanes}, sum_rows<F, Input>, a);
}

template <class Op, class List, class Input>
void run(const Problem& p, const Call& call) {
  List::visit(p.in[1].dtype, [&]<class F>(F) { launch_rows<Op, F, Input>(call, expert_args(p, call)); });
}

template <class Op, class List, class Input>
Support accepts(const Problem& p) {
  if (Support s = accepts_experts(p, Input::dtype); !s) return s;
  if (!List::visit(p.in[1].dtype, [](auto) {})) return {"weights are floats"};
  if (p.in[0].cols() % 16 != 0) return {"rows are no multiple of 16"};
  if (std::is_same_v<Op, ExpertSwiGlu> && p.in[1].dtype != p.in[2].dtype) return {"gate and up are of different formats"};
  return require(!std::is_same_v<Op, ExpertMatMulSum> || p.in[2].cols() <= kMostUsed, "a token uses more than 16 experts");
}

template <class Op>
void add_rungs(Registry::Adder& registry) {
  registry.add({.op = Op::name,
                .variant = "2_rows",
                .improves = "1_plain",
                .note = "a warp per two rows, lanes on groups of 16 values: a warp reads consecutive bytes, codes are unpacked by words, nothing "
                        "goes through scratch memory",
                .preference = 2,
                .accepts = accepts<Op, quant::Formats, FloatInput>,
                .run = run<Op, quant::Formats, FloatInput>});
  registry.add({.op = Op::name,
                .variant = "3_dot",
                .improves = "2_rows",
                .note = "activations in q8_g16: four products of bytes in an instruction, where each code was made a float",
                .preference = 3,
                .accepts = accepts<Op, quant::AffineFormats, ByteInput>,
                .run = run<Op, quant::AffineFormats, ByteInput>});
}

}  // namespace

void experts_2_rows(Registry::Adder registry) {
  add_rungs<ExpertMatMul>(registry);
  add_rungs<ExpertSwiGlu>(registry);
  add_rungs<ExpertMatMulSum>(registry);
}

}  // namespace kerf::KERF_GPU_NS
