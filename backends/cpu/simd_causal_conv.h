// causal_conv in vectors over channels. A channel's taps lie side by side in its weights; here they are put into one array
// per tap, sixteen (or eight) channels at a time by shuffles if there are four taps: with one token that is all the work there
// is beside the exponentials.
#pragma once
#include "backends/cpu/causal_conv.h"
#include "backends/cpu/simd_elementwise.h"
#include "backends/cpu/simd_swiglu.h"

namespace kerf::cpu {
inline namespace KERF_ISA {

template <class B>
class ConvPart {
 public:
  ConvPart(const float* w, int64_t n, int64_t taps) : n_(n), taps_(taps) {
    int64_t c = 0;
    for (; taps == 4 && c + kLanes<B> <= n; c += kLanes<B>) {
      B tap[4];
      Instructions<B>::every_fourth(w + 4 * c, tap);
      for (int j = 0; j < 4; ++j) tap[j].store_aligned(tap_[j] + c);
    }
    for (; c < n; ++c)
      for (int64_t j = 0; j < taps; ++j) tap_[j][c] = w[c * taps + j];
  }

  void row(const float* const* past, float* y) const {
    if (taps_ == 4) return products<4>(past, y);
    products<0>(past, y);
  }

 private:
  template <int kTaps>  // 0: as many as there are
  void products(const float* const* past, float* y) const {
    const auto value = [&](int64_t c, auto load) {
      B sum = load(tap_[0] + c) * load(past[0] + c);
      for (int64_t j = 1; j < (kTaps > 0 ? kTaps : taps_); ++j) sum = Instructions<B>::fma(load(tap_[j] + c), load(past[j] + c), sum);
      return silu(sum);
    };
    int64_t c = 0;
    for (; c + kLanes<B> <= n_; c += kLanes<B>) value(c, [](const float* p) { return B::load_unaligned(p); }).store_unaligned(y + c);
    if (c < n_) store_part<B>(value(c, [rest = n_ - c](const float* p) { return load_part<B>(p, rest); }), y + c, n_ - c);
  }

  int64_t n_, taps_;
  alignas(64) float tap_[kMostTaps][kConvChannels];
};

template <class B>
void causal_conv(const Problem&, const Call& call) {
  causal_conv<ConvPart<B>>(call, kExponentialSpan);
}

}  // namespace KERF_ISA
}  // namespace kerf::cpu
