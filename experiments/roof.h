// The roof: what this machine can do at most, measured by `kerf roof`, saved in a file, and put beside every speed that
// kerf prints. Williams, Waterman, Patterson 2009 (roofline). Nothing here is invented: what was not measured on this very
// machine, with this number of threads, is absent, and its column shows "-".
#pragma once
#include <cstdint>
#include <map>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/kernel.h"
#include "core/plan.h"
#include "experiments/roof_machine.h"

namespace kerf {

class Session;

/// One way to read memory from one end to the other.
struct ReadVariant {
  std::string pages{};                  // "2 MiB" or "4 KiB"
  double huge_share = 0;                // of the buffer that the system really backed with 2 MiB pages
  int streams = 1;                      // runs side by side in each thread
  int64_t ahead = 0;                    // bytes between prefetch and use; 0: no prefetch
  double median = 0, min = 0, max = 0;  // GB/s over the rounds
};

struct RoofFigures {
  int threads = 1;
  std::vector<ReadVariant> reads{};
  double read = 0;                                     // GB/s: the best median
  double l1 = 0, l2 = 0, l3 = 0;                       // GB/s, all threads together, each on bytes of its own
  std::map<std::string, double, std::less<>> units{};  // GFLOP/s (integer units: Gop/s) on registers, best round
  double amx_l1 = 0, amx_l2 = 0, amx_dram = 0;         // GFLOP/s of 2 x 2 tiles of bf16, both operands from there
  double exps = 0;                                     // 1e9 exp/s
  /// The fastest unit; {"", 0} if none was measured.
  std::pair<std::string_view, double> peak() const;
};

struct Roof {
  static constexpr int kSchema = 1;
  Machine machine{};
  std::string date{};                  // ISO 8601, UTC
  double clock_ghz = 0;                // of one core, by a chain of dependent multiplications
  int64_t buffer = 0;                  // bytes of the buffer for `reads`
  int64_t buffer_wanted = 0;           // more than `buffer` if memory did not allow it
  std::vector<RoofFigures> figures{};  // one per number of threads
  /// Null if this number of threads was not measured.
  const RoofFigures* with_threads(int threads) const;
};

nlohmann::json to_json(const Roof& roof);
/// @throws FileError naming the field
Roof roof_from_json(std::string_view text, const std::string& path);

/// $KERF_CACHE/roof.json, else $XDG_CACHE_HOME/kerf/roof.json, else ~/.cache/kerf/roof.json.
/// @throws Error(runtime) if none of these variables is set
std::string default_roof_path();

/// The roof in the file `chosen`, or in the default one if that is empty. Nothing if there is none, if it is of another
/// machine, or of another schema: `missing` then says so, for a warning after what was asked for.
/// @throws FileError if the file is broken, or if it was chosen and does not exist
std::optional<Roof> find_roof(const std::string& chosen, std::string& missing);

/// What to say if a roof was not measured with this many threads.
std::string no_roof_with(int threads);

/// The unit a kernel multiplies on, as RoofFigures::units names it, by its instruction set and its activations.
std::string_view unit_of(const Kernel& kernel, const Problem& problem);
/// "int8_amx" -> "AMX int8".
std::string_view unit_text(std::string_view unit);

/// What some computation must do at least (core/cost.h), and on which units its arithmetic runs.
struct Work {
  int64_t flops = 0, bytes = 0;
  std::map<std::string_view, int64_t> by_unit{};
  Work& operator+=(const Work& other);
};
Work work_of(const Kernel& kernel, const Problem& problem, int64_t depth = 0);
/// One pass of a plan with `depth` positions in the cache, over all devices.
Work work_of(const Plan& plan, const Registry& registry, int64_t depth);
/// `tokens` tokens fed at position `depth`, in the session's micro-batches.
Work prompt_work(Session& session, int64_t depth, int64_t tokens);
/// `tokens` passes of one token each from position `depth` on; costs are linear in depth, so the middle one counts for all.
Work decode_work(Session& session, int64_t depth, int64_t tokens);

/// Shares of the roof in percent; absent without a roof for this number of threads.
struct RoofShares {
  std::optional<double> read{};  // bytes per second, of the read bandwidth
  std::optional<double> unit{};  // time the arithmetic would take on the units it uses at their peaks, of the time taken
  std::optional<double> peak{};  // flops per second, of the machine's fastest unit
};
RoofShares roof_shares(const RoofFigures* roof, const Work& work, double seconds);
/// "41.3" or "-".
std::string percent_text(const std::optional<double>& percent);
/// percent_read, percent_unit, percent_peak, roof_read_gb_per_s, roof_peak_gflop_per_s, roof_peak_unit; null: not known.
void add_roof_fields(nlohmann::json& row, const RoofFigures* roof, const RoofShares& shares);

}  // namespace kerf
