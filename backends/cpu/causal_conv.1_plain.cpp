// causal_conv, rung 1: J products per channel and token, then silu.
#include <cmath>

#include "backends/cpu/causal_conv.h"
#include "backends/cpu/simd_rung.h"

namespace kerf::cpu {
namespace {

struct Channels {
  const float* w;
  int64_t n, taps;
  Channels(const float* weights, int64_t channels, int64_t J) : w(weights), n(channels), taps(J) {}
  void row(const float* const* past, float* y) const {
    for (int64_t c = 0; c < n; ++c) {
      float sum = 0;
      for (int64_t j = 0; j < taps; ++j) sum += w[c * taps + j] * past[j][c];
      y[c] = sum / (1 + std::exp(-sum));
    }
  }
};

}  // namespace

void causal_conv_1_plain(Registry::Adder r);
void causal_conv_1_plain(Registry::Adder r) {
  add_rung(r, {.op = CausalConv::name,
               .variant = "1_plain",
               .note = "one channel after the other, with a library exp each; threads share the channels",
               .preference = 1,
               .accepts = accepts_causal_conv,
               .run = [](const Problem&, const Call& call) { causal_conv<Channels>(call, kSpanValues / 8); }});
}

}  // namespace kerf::cpu
