// kerf version: what this program is made of and what it found.
#include "experiments/version.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "core/isa.h"
#include "experiments/commands.h"

namespace kerf {

int version_command(const Io& io) {
  struct Row {
    std::string name, state, wanted, reason;
  };
  std::vector<Row> rows;
  std::string_view text = KERF_FEATURE_ROWS;  // ";NAME|state|wanted|reason;..." as cmake/options.cmake collects them
  while (!text.empty()) {
    const size_t end = std::min(text.find(';'), text.size());
    std::string_view cells = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    if (cells.empty()) continue;
    Row row;
    for (std::string* cell : {&row.name, &row.state, &row.wanted, &row.reason}) {
      const size_t bar = std::min(cells.find('|'), cells.size());
      *cell = cells.substr(0, bar);
      cells.remove_prefix(std::min(bar + 1, cells.size()));
    }
    rows.push_back(std::move(row));
  }
  const auto registry = all_kernels();
  if (io.json) {
    nlohmann::json result{{"schema", 1},
                          {"version", KERF_VERSION},
                          {"compiler", KERF_COMPILER},
                          {"build", KERF_BUILD_TYPE},
                          {"sanitizers", KERF_SANITIZERS},
                          {"isa", name_of(detect_isa())},
                          {"cores", usable_cores()},
                          {"kernels", registry.all().size()}};
    for (const auto& r : rows) result["parts"][r.name] = {{"state", r.state}, {"wanted", r.wanted}, {"reason", r.reason}};
    io.out_json(result);
    return 0;
  }
  std::string out =
      fmt::format("kerf {}\ncompiler  {} ({}{}{})\nmachine   {}, {} usable cores\nkernels   {}\n", KERF_VERSION, KERF_COMPILER, KERF_BUILD_TYPE,
                  *KERF_SANITIZERS ? ", sanitizers " : "", KERF_SANITIZERS, name_of(detect_isa()), usable_cores(), registry.all().size());
  for (const auto& r : rows) out += fmt::format("{:<9} {:<3} ({}: {})\n", r.name, r.state, r.wanted, r.reason);
  io.out(out);
  return 0;
}

}  // namespace kerf
