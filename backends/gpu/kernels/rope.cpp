// rope_table and rope: the angles of a batch once, then each value of a head from its pair. Su et al. 2021; YaRN: Peng et al. 2023.
#include <algorithm>
#include <numbers>

#include "backends/gpu/gpu.h"
#include "backends/gpu/kernels/rotate.h"

namespace kerf::KERF_GPU_NS {
namespace {

constexpr int kThreads = 128;

struct TableArgs {
  const int32_t* positions;  // [T]
  const float* factors;      // [half], or null
  float* table;              // [T, 2 half]
  int half;
  float magnitude;
  double base, freq_scale;
  double low, high, yarn;  // YaRN: from pair `low` to pair `high` its mix falls from `yarn` to 0
};

/// Radians per position of pair i. In double, as is the angle: an angle of 131071 radians in f32 is off by 2^-8.
KERF_DEVICE double frequency(const TableArgs& a, int i) {
  const double extrapolated = pow(a.base, -static_cast<double>(i) / a.half) / (a.factors ? static_cast<double>(a.factors[i]) : 1.0);
  double ramp = (i - a.low) / (a.high - a.low);
  ramp = ramp < 0 ? 0 : ramp > 1 ? 1 : ramp;
  const double mix = (1 - ramp) * a.yarn;
  return extrapolated * (a.freq_scale * (1 - mix) + mix);
}

/// A block has angles of one token.
KERF_GLOBAL(kThreads) table_angle(TableArgs a) {
  const int i = static_cast<int>(block_y() * kThreads + thread_x());
  if (i >= a.half) return;
  const double angle = a.positions[block_x()] * frequency(a, i);
  float* row = a.table + static_cast<int64_t>(block_x()) * 2 * a.half;
  row[i] = static_cast<float>(a.magnitude * cos(angle));
  row[a.half + i] = static_cast<float>(a.magnitude * sin(angle));
}

/// The pair whose wave turns `turns` times within the original context.
double pair_with_turns(const RopeTable& r, double turns) {
  return r.dims * std::log(r.original_context / (turns * 2 * std::numbers::pi)) / (2 * std::log(static_cast<double>(r.base)));
}

void run_table(const Problem& p, const Call& call) {
  const auto& r = std::get<RopeTable>(p.op);
  TableArgs a{.positions = call.in[0].as<const int32_t>(),
              .factors = call.in.size() > 1 ? call.in[1].as<const float>() : nullptr,
              .table = call.out[0].as<float>(),
              .half = r.dims / 2,
              .magnitude = r.magnitude,
              .base = r.base,
              .freq_scale = r.freq_scale,
              .low = 0,
              .high = 1,
              .yarn = r.yarn_ext_factor};
  if (a.yarn != 0) {
    a.low = std::max(0.0, std::floor(pair_with_turns(r, r.beta_fast)));
    a.high = a.low + std::max(0.001, std::min(r.dims - 1.0, std::ceil(pair_with_turns(r, r.beta_slow))) - a.low);
  }
  const auto T = static_cast<unsigned>(p.in[0].cols());
  launch(call, {.kernel = "table_angle", .blocks = {T, blocks_for(a.half, kThreads)}, .threads = kThreads}, table_angle, a);
}

struct RopeArgs {
  const float *x, *table;  // [T, cols], [T, dims]
  float* y;                // as x
  Rotation rotation;
  int cols, head_dim;
};

/// A block has values of one token.
KERF_GLOBAL(kThreads) rotate_value(RopeArgs a) {
  const int i = static_cast<int>(block_y() * kThreads + thread_x());
  if (i >= a.cols) return;
  const int64_t t = block_x(), row = t * a.cols;
  const int d = i % a.head_dim;
  a.y[row + i] = rotated(a.rotation, a.x + row + i - d, a.table + t * a.rotation.dims, d);
}

void run_rope(const Problem& p, const Call& call) {
  const auto& op = std::get<Rope>(p.op);
  const RopeArgs a{.x = call.in[0].as<const float>(),
                   .table = call.in[1].as<const float>(),
                   .y = call.out[0].as<float>(),
                   .rotation = rotation_of(op, p.in[1]),
                   .cols = static_cast<int>(p.in[0].cols()),
                   .head_dim = op.head_dim};
  const auto T = static_cast<unsigned>(p.in[0].rows());
  launch(call, {.kernel = "rotate_value", .blocks = {T, blocks_for(a.cols, kThreads)}, .threads = kThreads}, rotate_value, a);
}

}  // namespace

void rope(Registry::Adder registry) {
  registry.add({.op = RopeTable::name,
                .variant = "1_thread",
                .note = "a thread per angle, in double: it runs once per batch, not per layer",
                .preference = 1,
                .accepts = [](const Problem&) { return Support{}; },
                .run = run_table});
  registry.add({.op = Rope::name,
                .variant = "1_thread",
                .note = "a thread per value; its partner and its angle are read twice and come from the cache the second time",
                .preference = 1,
                .accepts = [](const Problem& p) { return require(p.in[0].cols() < (int64_t{1} << 22), "rows are too long"); },
                .run = run_rope});
}

}  // namespace kerf::KERF_GPU_NS
