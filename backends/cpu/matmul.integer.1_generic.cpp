// <type>.1_generic, first rung of the integer kernels: weights as unsigned codes with a scale (and minimum) per 16 values,
// activations as q8_g16. Per group of 16 the sum of code*q is an integer, exact; only scaling is done in floats. Against
// decoding (any.0_decode) that is one float multiplication per 16 weights instead of 16.
// Cost: activations are rounded to 8 bits, relative step 1/127 of the largest of 16 neighbours.
#include "backends/cpu/dot_strips.h"

namespace kerf::cpu {
void matmul_integer_1_generic(Registry::Adder);
namespace {

struct Plain {
  struct Sum {
    float lane[16];
  };
  static Sum zero() { return {}; }
  struct Strip {
    uint8_t code[kStrip];
    float scale[kStrip / 16], min[kStrip / 16];
  };

  template <class F>
  static Strip unpack(const typename F::Block* block) {
    return unpack_tail<F>(block, kStripBlocks<F>);
  }
  template <class F>
  static Strip unpack_tail(const typename F::Block* block, int blocks) {
    constexpr int kValues = info(F::dtype).block_values;
    Strip s;
    for (int b = 0; b < blocks; ++b) F::split(block[b], s.code + b * kValues, s.scale + b * kValues / 16, s.min + b * kValues / 16);
    return s;
  }

  template <class F>
  static void add(Sum& sum, const Strip& s, const ActivationRow& x) {
    add_groups<F>(sum, s, x, 16);
  }
  template <class F>
  static void add_tail(Sum& sum, const Strip& s, const ActivationRow& x, int blocks) {
    add_groups<F>(sum, s, x, 2 * blocks);
  }
  template <class F>
  static void add_groups(Sum& sum, const Strip& s, const ActivationRow& x, int groups) {
    for (int g = 0; g < groups; ++g) {
      int dot = 0;
      for (int i = 16 * g; i < 16 * g + 16; ++i) dot += s.code[i] * x.q[i];
      float share = s.scale[g] * (static_cast<float>(dot) - F::kOffset * x.sum[g]);
      if constexpr (F::kHasMin) share -= s.min[g] * x.sum[g];
      sum.lane[g] += x.d[g] * share;
    }
  }

  static float total(const Sum& sum) {
    Sum s = sum;
    for (int half = 8; half > 0; half /= 2)
      for (int i = 0; i < half; ++i) s.lane[i] += s.lane[i + half];
    return s.lane[0];
  }
};

template <class F>
void run(const Problem&, const Call& call) {
  run_rows(call, 1, dot_rows<F, Plain>);
}

}  // namespace

void matmul_integer_1_generic(Registry::Adder registry) {
  quant::AffineFormats::for_each([&]<class F>(F) {
    add_integer_rung(registry, F::dtype,
                     {.step = "1_generic", .note = "integer products of codes and 8-bit activations: one scaling per 16 weights", .preference = 10},
                     run<F>);
  });
}

}  // namespace kerf::cpu
