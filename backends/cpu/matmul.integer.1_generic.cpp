// <type>.1_generic, first rung of the integer kernels: weights as unsigned codes with a scale (and minimum) per 16 values,
// activations as q8_g16. Per group of 16 the sum of code*q is an integer, exact; only scaling is done in floats. Against
// decoding (any.0_decode) that is one float multiplication per 16 weights instead of 16.
// Cost: activations are rounded to 8 bits, relative step 1/127 of the largest of 16 neighbours.
#include "backends/cpu/dot_strips.h"

namespace kerf::cpu {
void matmul_integer_1_generic(Registry::Adder);
namespace {

struct Plain {
  static constexpr int kRows = 1;
  struct Sum {
    float lane[16];
  };
  static Sum zero() { return {}; }
  struct Strip {
    uint8_t code[kStrip];
    float scale[kStrip / 16], min[kStrip / 16];
  };

  template <class F, int G>
  static Strip unpack(const typename F::Block* block) {
    constexpr int kValues = info(F::dtype).block_values;
    Strip s;
    for (int b = 0; b < kBlocksOf<F, G>; ++b) F::split(block[b], s.code + b * kValues, s.scale + b * kValues / 16, s.min + b * kValues / 16);
    return s;
  }

  template <class F, int G>
  static void add(Sum& sum, const Strip& s, const ActivationRow& x) {
    for (int g = 0; g < G; ++g) {
      int dot = 0;
      for (int i = 16 * g; i < 16 * g + 16; ++i) dot += s.code[i] * x.q[i];
      float share = s.scale[g] * (static_cast<float>(dot) - F::kOffset * x.sum[g]);
      if constexpr (F::kHasMin) share -= s.min[g] * x.sum[g];
      sum.lane[g] += x.d[g] * share;
    }
  }

  template <int N>
  static void add_totals(Sum (&sum)[N], float (&y)[N]) {
    for (int n = 0; n < N; ++n) {
      float* lane = sum[n].lane;
      for (int half = 8; half > 0; half /= 2)
        for (int i = 0; i < half; ++i) lane[i] += lane[i + half];
      y[n] += lane[0];
    }
  }
};

template <class F>
void run(const Problem&, const Call& call) {
  run_rows(call, Plain::kRows, dot_rows<F, Plain>);
}

}  // namespace

RowsFn generic_rows(DType weights) {
  RowsFn rows = nullptr;
  quant::AffineFormats::visit(weights, [&]<class F>(F) { rows = dot_rows<F, Plain>; });
  return rows;
}

void matmul_integer_1_generic(Registry::Adder registry) {
  quant::AffineFormats::for_each([&]<class F>(F) {
    add_integer_rung(registry, F::dtype,
                     {.step = "1_generic", .note = "integer products of codes and 8-bit activations: one scaling per 16 weights", .preference = 10},
                     run<F>);
  });
}

}  // namespace kerf::cpu
