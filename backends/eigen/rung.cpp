#include "backends/eigen/rung.h"

#include <fmt/format.h>

#include <algorithm>

#include "quant/formats.h"

namespace kerf::eigen {
namespace {

// Eigen packs the activations anew for every product, so a panel must be high: 256 rows cost 512 operations per packed
// value. Decoded, 256 rows x 1024 columns are 1 MB, which an L2 cache holds. For few tokens nothing is packed that matters,
// and 32 rows (128 KB) leave the decoded values near the core that made them.
constexpr int64_t kRows = 256, kFewRows = 32, kFewTokens = 8, kDepth = 1024, kSlots = 32;

Support accepts_matmul(const Problem& p) {
  if (auto s = require(p.in[0].dtype == DType::f32, "the activations are not f32"); !s) return s;
  return require(quant::Formats::visit(p.in[1].dtype, [](auto) {}), "the weights' format has no decoder");
}

size_t matmul_scratch(const Problem& p) {
  const Cut c = cut_of(p);
  return p.in[1].dtype == DType::f32 ? 0 : static_cast<size_t>(c.slots * c.rows * c.pitch) * sizeof(float);
}

struct Step {
  int number;
  std::string_view vectors;
};
Step step_of(Isa isa) { return isa == Isa::base ? Step{1, "sse2"} : isa == Isa::avx2 ? Step{2, "avx2"} : Step{3, "avx512"}; }
std::string variant(const Step& s) { return fmt::format("{}_packets_{}", s.number, s.vectors); }

Kernel rung(std::string_view op, Isa isa, std::string_view first_note, RunFn run) {
  const Step step = step_of(isa);
  Kernel k{.op = op, .variant = variant(step), .preference = step.number, .isa = isa, .run = run};
  if (isa == Isa::base) k.note = first_note;
  if (isa == Isa::avx2) k.improves = variant(step_of(Isa::base)), k.note = "the same source with packets of 8 floats and fused multiply-add";
  if (isa == Isa::avx512) k.improves = variant(step_of(Isa::avx2)), k.note = "the same source with packets of 16 floats and 32 registers";
  return k;
}

}  // namespace

void add_matmul(Registry::Adder registry, Isa isa, RunFn run) {
  Kernel k = rung(MatMul::name, isa, "Eigen's product of panels of 256 rows; other formats than f32 are decoded to floats first", run);
  k.accepts = accepts_matmul;
  k.scratch_bytes = matmul_scratch;
  registry.add(std::move(k));
}

void add_float_op(Registry::Adder registry, std::string_view op, Isa isa, RunFn run) {
  Kernel k = rung(op, isa, "one Eigen array expression per row", run);
  k.accepts = [](const Problem&) { return Support{}; };
  registry.add(std::move(k));
}

float rms_norm_eps(const Problem& p) { return std::get<RmsNorm>(p.op).eps; }

Cut cut_of(const Problem& p) {
  const int64_t T = p.in[0].rows(), N = p.in[1].rows(), K = p.in[1].cols();
  Cut c;
  // At least 16 panels where rows allow it. By the problem alone: results must not depend on the number of threads.
  c.rows = T < kFewTokens ? kFewRows : std::clamp<int64_t>((N + 15) / 16 / 16 * 16, 32, kRows);
  c.rows = std::min(c.rows, N);
  c.panels = (N + c.rows - 1) / c.rows;
  c.slots = std::min(c.panels, kSlots);
  c.depth = std::min(K, kDepth);
  c.pitch = (c.depth + 15) / 16 * 16 + 16;  // rows not a power of two apart: they would compete for one set of the L1 cache
  return c;
}

}  // namespace kerf::eigen
