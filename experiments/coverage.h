// Which backend has a kernel for which op and type: backends/COVERAGE.md, `kerf kernels coverage`.
#pragma once
#include <string>
#include <vector>

#include "core/kernel.h"

namespace kerf {

struct CoverageRow {
  std::string op{}, type{}, backend{};
  std::string kernel{};   // the best one with every instruction set allowed; empty: none
  std::string why_not{};  // the reasons, if there is none
};

/// One row per op, type it varies in (weight, cache or target type) and backend.
std::vector<CoverageRow> kernel_coverage(const Registry& registry);

/// As a Markdown table, the file backends/COVERAGE.md.
std::string coverage_text(const std::vector<CoverageRow>& rows);

}  // namespace kerf
