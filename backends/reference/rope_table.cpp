// rope_table: cos and sin of the angles of Su et al. 2021, with the context extensions of Peng et al. 2023 (YaRN).
// Everything in double: a float angle is off by 8e-3 rad at position 131072.
#include <algorithm>
#include <cmath>
#include <numbers>

#include "core/kernel.h"

namespace kerf::reference {
namespace {

/// The (fractional) pair whose wavelength fits `rotations` times into the original context.
double pair_with(double rotations, const RopeTable& r) {
  return r.dims * std::log(r.original_context / (rotations * 2 * std::numbers::pi)) / (2 * std::log(double(r.base)));
}

/// Radians per position of pair i: the angle divided by `factor`, then interpolated by freq_scale as far as YaRN says.
double frequency(const RopeTable& r, int i, double factor) {
  const double extrapolated = std::pow(double(r.base), -2.0 * i / r.dims) / factor, interpolated = extrapolated * r.freq_scale;
  if (r.yarn_ext_factor == 0) return interpolated;
  const double low = std::max(0.0, std::floor(pair_with(r.beta_fast, r)));
  const double high = std::min(r.dims - 1.0, std::ceil(pair_with(r.beta_slow, r)));
  const double mix = (1 - std::clamp((i - low) / std::max(0.001, high - low), 0.0, 1.0)) * r.yarn_ext_factor;
  return interpolated * (1 - mix) + extrapolated * mix;
}

void run(const Problem& p, const Call& call) {
  const auto& r = std::get<RopeTable>(p.op);
  const int half = r.dims / 2;
  for (int64_t t = 0; t < call.out[0].desc.rows(); ++t)
    for (int i = 0; i < half; ++i) {
      const double angle = call.in[0].as<const int32_t>()[t] * frequency(r, i, call.in.size() > 1 ? call.in[1].as<const float>()[i] : 1.0);
      call.out[0].row<float>(t)[i] = static_cast<float>(r.magnitude * std::cos(angle));
      call.out[0].row<float>(t)[half + i] = static_cast<float>(r.magnitude * std::sin(angle));
    }
}

}  // namespace

void rope_table(Registry::Adder registry) {
  registry.add({.op = RopeTable::name, .note = "the definition", .accepts = [](const Problem&) { return Support{}; }, .run = run});
}

}  // namespace kerf::reference
