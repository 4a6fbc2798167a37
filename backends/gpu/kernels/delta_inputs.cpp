// What prepares the inputs of gated_delta_rule (Yang, Kautz, Hatamizadeh 2024): delta_gates, the decays and rates of its steps, and
// causal_conv, a short convolution over time of queries, keys and values.
#include "backends/gpu/gpu.h"

namespace kerf::KERF_GPU_NS {
namespace {

constexpr int kThreads = 128;

struct GateArgs {
  const float *alpha, *dt_bias, *a, *beta;  // [T, H], [H], [H], [T, H]
  float *g, *b;                             // [T, H]
  int64_t n;
  unsigned H;
};

/// log(1 + exp(x)) as max(x, 0) + log1p(exp(-|x|)), whose exponential can not overflow.
KERF_GLOBAL(kThreads) gates(GateArgs a) {
  const int64_t i = static_cast<int64_t>(block_x()) * kThreads + thread_x();
  if (i >= a.n) return;
  const auto h = static_cast<unsigned>(i % a.H);
  const float x = a.alpha[i] + a.dt_bias[h];
  a.g[i] = a.a[h] * (larger(x, 0) + log1pf(expf(-fabsf(x))));
  a.b[i] = sigmoid(a.beta[i]);
}

void run_gates(const Problem& p, const Call& call) {
  const GateArgs args{.alpha = call.in[0].as<const float>(),
                      .dt_bias = call.in[1].as<const float>(),
                      .a = call.in[2].as<const float>(),
                      .beta = call.in[3].as<const float>(),
                      .g = call.out[0].as<float>(),
                      .b = call.out[1].as<float>(),
                      .n = p.in[0].size(),
                      .H = static_cast<unsigned>(p.in[0].cols())};
  launch(call, {.kernel = "gates", .blocks = {blocks_for(args.n, kThreads)}, .threads = kThreads}, gates, args);
}

struct ConvArgs {
  const float* x;            // [T, C]
  const float* w;            // [C, J]
  float* state;              // [J-1, C]: the rows of x before this batch, oldest first; afterwards the last ones of both
  const int32_t* positions;  // [T]
  float *q, *k, *v;          // [T, keys], [T, keys], [T, C - 2 keys]
  int64_t T, C, keys;
};

/// Channel c of row r of the state and, behind it, of the batch; zeros before position 0.
template <int J>
KERF_DEVICE float past(const ConvArgs& a, int64_t r, int64_t c) {
  if (r >= J - 1) return a.x[(r - (J - 1)) * a.C + c];
  return a.positions[0] == 0 ? 0 : a.state[r * a.C + c];
}

/// Where channel c of token t goes.
KERF_DEVICE float* place(const ConvArgs& a, int64_t t, int64_t c) {
  if (c < a.keys) return a.q + t * a.keys + c;
  if (c < 2 * a.keys) return a.k + t * a.keys + c - a.keys;
  return a.v + t * (a.C - 2 * a.keys) + c - 2 * a.keys;
}

/// Tokens t0 .. t1 of channel c, with the last J rows in registers.
template <int J>
KERF_DEVICE void convolve(const ConvArgs& a, int64_t t0, int64_t t1, int64_t c) {
  float w[J], row[J];
  KERF_UNROLL
  for (int j = 0; j < J; ++j) w[j] = a.w[c * J + j];
  KERF_UNROLL
  for (int j = 1; j < J; ++j) row[j] = past<J>(a, t0 + j - 1, c);
  for (int64_t t = t0; t < t1; ++t) {
    KERF_UNROLL
    for (int j = 1; j < J; ++j) row[j - 1] = row[j];
    row[J - 1] = a.x[t * a.C + c];
    float sum = 0;
    KERF_UNROLL
    for (int j = 0; j < J; ++j) sum = fmaf(w[j], row[j], sum);
    *place(a, t, c) = sum * sigmoid(sum);
  }
}

/// Row j of the new state is row j + T of the old one or of x. In the order of j none is overwritten before it is read.
template <int J>
KERF_DEVICE void keep_last_rows(const ConvArgs& a, int64_t c) {
  for (int64_t j = 0; j < J - 1; ++j) a.state[j * a.C + c] = past<J>(a, a.T + j, c);
}

template <int J>
KERF_GLOBAL(kThreads)
conv_channels(ConvArgs a) {
  const int64_t c = static_cast<int64_t>(block_x()) * kThreads + thread_x();
  if (c >= a.C) return;
  convolve<J>(a, 0, a.T, c);
  keep_last_rows<J>(a, c);
}

constexpr int64_t kStrip = 8;  // tokens of a thread: their J - 1 rows before them are read again

template <int J>
KERF_GLOBAL(kThreads)
conv_strips(ConvArgs a) {
  const int64_t c = static_cast<int64_t>(block_x()) * kThreads + thread_x(), t0 = static_cast<int64_t>(block_y()) * kStrip;
  if (c < a.C) convolve<J>(a, t0, t0 + kStrip < a.T ? t0 + kStrip : a.T, c);
}
template <int J>
KERF_GLOBAL(kThreads)
conv_state(ConvArgs a) {
  const int64_t c = static_cast<int64_t>(block_x()) * kThreads + thread_x();
  if (c < a.C) keep_last_rows<J>(a, c);
}

ConvArgs arguments(const Problem& p, const Call& call) {
  return {.x = call.in[0].as<const float>(),
          .w = call.in[1].as<const float>(),
          .state = call.out[3].as<float>(),
          .positions = call.in[3].as<const int32_t>(),
          .q = call.out[0].as<float>(),
          .k = call.out[1].as<float>(),
          .v = call.out[2].as<float>(),
          .T = p.in[0].rows(),
          .C = p.in[0].cols(),
          .keys = std::get<CausalConv>(p.op).keys};
}

/// f(std::integral_constant<int, J>{}) for the taps of the problem.
template <int J = 2, class F>
void with_taps(int64_t taps, F&& f) {
  if (taps == J)
    f(std::integral_constant<int, J>{});
  else if constexpr (J < 8)
    with_taps<J + 1>(taps, f);
}
Support has_taps(const Problem& p) { return require(p.in[1].cols() >= 2 && p.in[1].cols() <= 8, "not 2 to 8 taps"); }

void run_channels(const Problem& p, const Call& call) {
  const ConvArgs args = arguments(p, call);
  with_taps(p.in[1].cols(), [&](auto taps) {
    launch(call, {.kernel = "conv_channels", .blocks = {blocks_for(args.C, kThreads)}, .threads = kThreads}, conv_channels<taps.value>, args);
  });
}

void run_strips(const Problem& p, const Call& call) {
  const ConvArgs args = arguments(p, call);
  const unsigned channels = blocks_for(args.C, kThreads);
  with_taps(p.in[1].cols(), [&](auto taps) {
    launch(call, {.kernel = "conv_strips", .blocks = {channels, blocks_for(args.T, kStrip)}, .threads = kThreads}, conv_strips<taps.value>, args);
    launch(call, {.kernel = "conv_state", .blocks = {channels}, .threads = kThreads}, conv_state<taps.value>, args);
  });
}
Support has_strips(const Problem& p) {
  const int64_t T = p.in[0].rows();
  return T <= kStrip || T >= kStrip * 65536 ? Support{"a single strip of tokens, or more than a grid has rows"} : has_taps(p);
}

}  // namespace

void delta_inputs(Registry::Adder registry) {
  registry.add({.op = DeltaGates::name,
                .variant = "1_thread",
                .note = "a thread per head and token",
                .preference = 1,
                .accepts = [](const Problem&) { return Support{}; },
                .run = run_gates});
  registry.add({.op = CausalConv::name,
                .variant = "1_channels",
                .note = "a thread per channel walks over the tokens with the last rows in registers, and then puts them into the state",
                .preference = 1,
                .accepts = has_taps,
                .run = run_channels});
  registry.add({.op = CausalConv::name,
                .variant = "2_strips",
                .improves = "1_channels",
                .note = "a thread per channel and 8 tokens, and a launch behind it for the state: T / 8 times as many loads in flight",
                .preference = 2,
                .accepts = has_strips,
                .run = run_strips});
}

}  // namespace kerf::KERF_GPU_NS
