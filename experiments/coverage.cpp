#include "experiments/coverage.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <map>
#include <set>

#include "experiments/kernel_cases.h"

namespace kerf {
namespace {

/// The type an op's kernels differ in: of the weights, the cache, the target; "" for ops that only know f32.
std::string varying_type(const Problem& p) {
  const size_t which = std::holds_alternative<MatMul>(p.op) || std::holds_alternative<Attention>(p.op) ? 1 : 0;
  if (std::holds_alternative<Convert>(p.op)) return fmt::format("{} -> {}", name_of(p.in[0].dtype), name_of(p.out[0].dtype));
  if (std::holds_alternative<MatMul>(p.op) || std::holds_alternative<Attention>(p.op) || std::holds_alternative<Rows>(p.op) ||
      std::holds_alternative<KvWrite>(p.op))
    return std::string(name_of(p.in[which].dtype));
  return "";
}

}  // namespace

std::vector<CoverageRow> kernel_coverage(const Registry& registry) {
  std::vector<std::string> backends;
  constexpr std::array<std::string_view, 3> kSameAsEmu{"emu64", "cuda", "hip"};  // compiled from the same files
  for (const auto& k : registry.all())
    if (std::find(kSameAsEmu.begin(), kSameAsEmu.end(), k.backend) == kSameAsEmu.end() &&
        std::find(backends.begin(), backends.end(), k.backend) == backends.end())
      backends.emplace_back(k.backend);
  std::vector<CoverageRow> rows;
  for (const auto op : op_names()) {
    std::vector<std::string> types;
    std::map<std::string, std::vector<Problem>> problems;
    for (const auto& c : kernel_cases(op)) {
      const std::string type = varying_type(c.problem);
      if (!problems.contains(type)) types.push_back(type);
      problems[type].push_back(c.problem);
    }
    for (const auto& type : types)
      for (const auto& backend : backends) {
        CoverageRow row{.op = std::string(op), .type = type, .backend = backend};
        const KernelPolicy policy{.backends = {backend}, .isa = Isa::amx};
        int best = -1;
        std::set<std::string> reasons;
        for (const auto& k : registry.all()) {
          if (k.backend != backend || k.op != op) continue;
          for (const auto& p : problems[type]) {
            const std::string why = registry.why_not(k, p, policy);
            if (!why.empty()) reasons.insert(why);
            if (!why.empty() || k.preference <= best) continue;
            best = k.preference;
            row.kernel = k.name();
          }
        }
        if (row.kernel.empty()) row.why_not = reasons.empty() ? "no kernel" : fmt::format("{}", fmt::join(reasons, "; "));
        rows.push_back(std::move(row));
      }
  }
  return rows;
}

std::string coverage_text(const std::vector<CoverageRow>& rows) {
  std::string text =
      "# Coverage\n\nWritten by `kerf kernels coverage`: the best kernel of each backend with every instruction set allowed. What "
      "emu has, emu64, cuda and hip have too: one source.\n\n| op | type | "
      "backend | kernel |\n| --- | --- | --- | --- |\n";
  for (const auto& r : rows)
    text += fmt::format("| {} | {} | {} | {} |\n", r.op, r.type, r.backend, r.kernel.empty() ? "none: " + r.why_not : "`" + r.kernel + "`");
  return text;
}

}  // namespace kerf
