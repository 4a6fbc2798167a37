// Norms of groups of consecutive values: RmsNorm (Zhang & Sennrich 2019), L2Norm, GatedRmsNorm (Yang, Kautz, Hatamizadeh 2024).
// All read a group twice, once for the sum of its squares and once to scale it; the second reading comes from the cache.
#include "backends/gpu/gpu.h"

namespace kerf::KERF_GPU_NS {
namespace {

enum class Norm : uint8_t { rms, l2, gated };

struct NormArgs {
  const float* x;  // [groups, n]
  const float* w;  // [n]; rms and gated
  const float* z;  // as x; gated
  float* y;        // as x
  int64_t groups;
  int n;
  float eps;
};

/// What a group is multiplied by, from the sum of its squares.
template <Norm norm>
KERF_DEVICE float factor(float squares, const NormArgs& a) {
  return 1 / sqrtf((norm == Norm::l2 ? squares : squares / static_cast<float>(a.n)) + a.eps);
}

template <Norm norm>
KERF_DEVICE void write(const NormArgs& a, int64_t group, int i, float by) {
  const int64_t at = group * a.n + i;
  float y = a.x[at] * by;
  if constexpr (norm != Norm::l2) y *= a.w[i];
  if constexpr (norm == Norm::gated) y *= silu(a.z[at]);
  a.y[at] = y;
}

/// A warp per group: no thread waits for another warp.
template <Norm norm>
KERF_GLOBAL(128)
warp_norm(NormArgs a) {
  const int64_t group = static_cast<int64_t>(block_x()) * (128 / kLanes) + warp();
  if (group >= a.groups) return;
  float squares = 0;
  for (int i = static_cast<int>(lane()); i < a.n; i += kLanes) squares = fmaf(a.x[group * a.n + i], a.x[group * a.n + i], squares);
  const float by = factor<norm>(warp_sum(squares), a);
  for (int i = static_cast<int>(lane()); i < a.n; i += kLanes) write<norm>(a, group, i, by);
}

/// A block per group: the norms of whole rows.
KERF_GLOBAL(256) block_norm(NormArgs a) {
  KERF_SHARED(float, part, [256 / kLanes]);
  const int64_t group = block_x();
  float squares = 0;
  for (int i = static_cast<int>(thread_x()); i < a.n; i += 256) squares = fmaf(a.x[group * a.n + i], a.x[group * a.n + i], squares);
  const float by = factor<Norm::rms>(block_sum<256>(squares, part), a);
  for (int i = static_cast<int>(thread_x()); i < a.n; i += 256) write<Norm::rms>(a, group, i, by);
}

template <Norm norm>
NormArgs arguments(const Problem& p, const Call& call) {
  const TensorView& x = call.in[0];
  NormArgs a{.x = x.as<const float>(), .w = nullptr, .z = nullptr, .y = call.out[0].as<float>(), .groups = 0, .n = 0, .eps = 0};
  if constexpr (norm == Norm::l2) {
    const auto& op = std::get<L2Norm>(p.op);
    a.n = op.group;
    a.eps = op.eps;
  } else {
    a.w = call.in[1].as<const float>();
    a.n = static_cast<int>(call.in[1].desc.cols());
  }
  if constexpr (norm == Norm::rms) a.eps = std::get<RmsNorm>(p.op).eps;
  if constexpr (norm == Norm::gated) {
    a.eps = std::get<GatedRmsNorm>(p.op).eps;
    a.z = call.in[2].as<const float>();
  }
  a.groups = x.desc.size() / a.n;
  return a;
}

template <Norm norm>
void run_warps(const Problem& p, const Call& call) {
  const auto a = arguments<norm>(p, call);
  launch(call, {.kernel = "warp_norm", .blocks = {blocks_for(a.groups, 128 / kLanes)}, .threads = 128}, warp_norm<norm>, a);
}
void run_blocks(const Problem& p, const Call& call) {
  const auto a = arguments<Norm::rms>(p, call);
  launch(call, {.kernel = "block_norm", .blocks = {static_cast<unsigned>(a.groups)}, .threads = 256}, block_norm, a);
}

Support fits(const Problem& p) {
  for (const auto& d : p.in)
    if (d.dtype != DType::f32) return {"reads f32"};
  return require(p.in[0].cols() < (int64_t{1} << 31), "rows are too long");
}
Support fits_blocks(const Problem& p) { return p.in[1].cols() < 512 ? Support{"groups are too short for a block"} : fits(p); }

template <Norm norm>
void add_norm(Registry::Adder& registry, std::string_view op) {
  registry.add({.op = op,
                .variant = "1_warp",
                .note = "a warp per group: one lane in 32 of each row is a thread's, sums meet in shuffles",
                .preference = 1,
                .accepts = fits,
                .run = run_warps<norm>});
  if constexpr (norm == Norm::rms)
    registry.add({.op = op,
                  .variant = "2_block",
                  .improves = "1_warp",
                  .note = "a block per group of 512 values and more: eight times as many loads in flight, for one barrier",
                  .preference = 2,
                  .accepts = fits_blocks,
                  .run = run_blocks});
}

}  // namespace

void norms(Registry::Adder registry) {
  add_norm<Norm::rms>(registry, RmsNorm::name);
  add_norm<Norm::l2>(registry, L2Norm::name);
  add_norm<Norm::gated>(registry, GatedRmsNorm::name);
}

}  // namespace kerf::KERF_GPU_NS
