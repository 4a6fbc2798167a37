// rope_table: cosines and sines of all angles of a micro-batch, in double because an angle p * f loses 17 bits of its
// fraction in float at p = 100000. Angles: Su et al. 2021 (RoFormer) 3.2.2; frequency mix and its limits: Peng et al.
// 2023 (YaRN) 3.2. Every scaling is linear in p, so it folds into one frequency per pair.
#include <algorithm>
#include <cmath>
#include <numbers>

#include "backends/cpu/simd_loop.h"
#include "backends/cpu/simd_rung.h"

namespace kerf::cpu {
namespace {

/// The pair index at which a wave turns `turns` times within the original context.
double pair_with_turns(const RopeTable& r, double turns) {
  return r.dims * std::log(r.original_context / (turns * 2 * std::numbers::pi)) / (2 * std::log(static_cast<double>(r.base)));
}

void fill_frequencies(const RopeTable& r, const float* factors, double* frequency) {
  const double low = r.yarn_ext_factor != 0 ? std::max(0.0, std::floor(pair_with_turns(r, r.beta_fast))) : 0;
  const double high = r.yarn_ext_factor != 0 ? std::min(r.dims - 1.0, std::ceil(pair_with_turns(r, r.beta_slow))) : 0;
  for (int i = 0; i < r.dims / 2; ++i) {
    const double extrapolated = std::pow(static_cast<double>(r.base), -2.0 * i / r.dims) / (factors ? static_cast<double>(factors[i]) : 1.0);
    const double ramp = 1 - std::clamp((i - low) / std::max(0.001, high - low), 0.0, 1.0);
    const double mix = ramp * r.yarn_ext_factor;
    frequency[i] = extrapolated * (r.freq_scale * (1 - mix) + mix);
  }
}

void run(const Problem& p, const Call& call) {
  const auto& op = std::get<RopeTable>(p.op);
  const auto* position = call.in[0].as<int32_t>();
  const float* factors = call.in.size() > 1 ? call.in[1].as<float>() : nullptr;
  auto* frequency = reinterpret_cast<double*>(call.scratch.data());
  fill_frequencies(op, factors, frequency);
  const int half = op.dims / 2;
  // A sine with its cosine costs about 40 simple operations.
  for_each_rows(call.pool, call.in[0].desc.cols(), 40 * half, [&](int64_t begin, int64_t end) {
    for (int64_t t = begin; t < end; ++t) {
      auto* cosine = call.out[0].row<float>(t);
      for (int i = 0; i < half; ++i) {
        const double angle = position[t] * frequency[i];
        cosine[i] = static_cast<float>(std::cos(angle) * op.magnitude);
        cosine[half + i] = static_cast<float>(std::sin(angle) * op.magnitude);
      }
    }
  });
}

size_t scratch_bytes(const Problem& p) { return static_cast<size_t>(std::get<RopeTable>(p.op).dims / 2) * sizeof(double); }

}  // namespace

void rope_table(Registry::Adder r);
void rope_table(Registry::Adder r) {
  add_rung(r, {.op = RopeTable::name,
               .note = "frequencies once, then sine and cosine in double per token: it runs once per micro-batch, not per layer",
               .preference = 1,
               .accepts = accepts_all,
               .run = run,
               .scratch_bytes = scratch_bytes});
}

}  // namespace kerf::cpu
