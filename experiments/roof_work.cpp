// From plans and kernels to percent of the roof.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>

#include "core/cost.h"
#include "core/error.h"
#include "experiments/roof.h"
#include "experiments/session.h"

namespace kerf {
namespace {

constexpr std::array<std::pair<std::string_view, std::string_view>, 9> kUnitTexts{{{"fp32_sse2", "fp32 SSE2"},
                                                                                   {"fp32_avx2", "fp32 FMA, AVX2"},
                                                                                   {"fp32_avx512", "fp32 FMA, AVX-512"},
                                                                                   {"int8_sse2", "int8 SSE2"},
                                                                                   {"int8_avx2", "int8 AVX2"},
                                                                                   {"int8_avx512", "int8 AVX-512"},
                                                                                   {"int8_vnni", "int8 VNNI"},
                                                                                   {"bf16_amx", "AMX bf16"},
                                                                                   {"int8_amx", "AMX int8"}}};

Work scaled(Work work, int64_t factor) {
  work.flops *= factor;
  work.bytes *= factor;
  for (auto& [unit, flops] : work.by_unit) flops *= factor;
  return work;
}

}  // namespace

std::string_view unit_text(std::string_view unit) {
  for (const auto& [name, text] : kUnitTexts)
    if (name == unit) return text;
  return unit == "bf16_dot" ? "bf16 VDPBF16PS" : unit;
}

std::string_view unit_of(const Kernel& kernel, const Problem& problem) {
  const bool integers = reads_formats(problem.op) && (problem.in[0].dtype == DType::q8_g16 || problem.in[0].dtype == DType::q15_t16);
  switch (kernel.isa) {
    case Isa::amx:
      return integers ? "int8_amx" : "bf16_amx";
    case Isa::vnni:
      return integers ? "int8_vnni" : "fp32_avx512";
    case Isa::avx512:
      return integers ? "int8_avx512" : "fp32_avx512";
    case Isa::avx2:
      return integers ? "int8_avx2" : "fp32_avx2";
    case Isa::base:
      return integers ? "int8_sse2" : "fp32_sse2";
  }
  return "";
}

Work& Work::operator+=(const Work& other) {
  flops += other.flops;
  bytes += other.bytes;
  for (const auto& [unit, n] : other.by_unit) by_unit[unit] += n;
  return *this;
}

Work work_of(const Kernel& kernel, const Problem& problem, int64_t depth) {
  const Cost c = cost(problem, depth);
  return {.flops = c.flops, .bytes = c.bytes, .by_unit = {{unit_of(kernel, problem), c.flops}}};
}

Work work_of(const Plan& plan, const Registry& registry, int64_t depth) {
  Work total;
  const auto add = [&](const std::string& name, const Problem& problem) {
    const Kernel* kernel = registry.find(name);
    KERF_CHECK(kernel, fmt::format("a plan names {}, which does not exist", name));
    total += work_of(*kernel, problem, depth);
  };
  for (const auto& step : plan.steps) {
    if (const auto* run = std::get_if<RunStep>(&step)) add(run->kernel, run->problem);
    if (const auto* convert = std::get_if<ConvertStep>(&step)) add(convert->kernel, convert->problem);
  }
  return total;
}

Work prompt_work(Session& session, int64_t depth, int64_t tokens) {
  Work total;
  for (int64_t done = 0; done < tokens; done += session.micro_batch())
    total += work_of(*session.planned(std::min(session.micro_batch(), tokens - done), 1).plan, session.registry(), depth + done);
  return total;
}

Work decode_work(Session& session, int64_t depth, int64_t tokens) {
  if (tokens == 0) return {};
  return scaled(work_of(*session.planned(1, 1).plan, session.registry(), depth + (tokens - 1) / 2), tokens);
}

RoofShares roof_shares(const RoofFigures* roof, const Work& work, double seconds) {
  RoofShares shares;
  if (!roof || !(seconds > 0)) return shares;
  if (roof->read > 0) shares.read = 100 * static_cast<double>(work.bytes) * 1e-9 / seconds / roof->read;
  if (const double peak = roof->peak().second; peak > 0) shares.peak = 100 * static_cast<double>(work.flops) * 1e-9 / seconds / peak;
  double at_peaks = 0;  // seconds
  for (const auto& [unit, flops] : work.by_unit) {
    const auto figure = roof->units.find(unit);
    if (flops == 0) continue;
    if (figure == roof->units.end()) return shares;
    at_peaks += static_cast<double>(flops) * 1e-9 / figure->second;
  }
  shares.unit = 100 * at_peaks / seconds;
  return shares;
}

std::string percent_text(const std::optional<double>& percent) { return percent ? fmt::format("{:.1f}", *percent) : "-"; }

void add_roof_fields(nlohmann::json& row, const RoofFigures* roof, const RoofShares& shares) {
  const auto put = [&](const char* name, const std::optional<double>& value) { row[name] = value ? nlohmann::json(*value) : nlohmann::json(); };
  put("percent_read", shares.read);
  put("percent_unit", shares.unit);
  put("percent_peak", shares.peak);
  const auto positive = [](double v) { return v > 0 ? std::optional(v) : std::nullopt; };
  put("roof_read_gb_per_s", roof ? positive(roof->read) : std::nullopt);
  put("roof_peak_gflop_per_s", roof ? positive(roof->peak().second) : std::nullopt);
  row["roof_peak_unit"] = roof && roof->peak().second > 0 ? nlohmann::json(roof->peak().first) : nlohmann::json();
}

}  // namespace kerf
