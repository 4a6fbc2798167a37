// Which machine this is: what its processor says of itself, and what was found to run.
#pragma once
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/isa.h"

namespace kerf {

struct Machine {
  std::string cpu{};                        // "Intel(R) Xeon(R) Processor"
  int family = 0, model = 0, stepping = 0;  // some names do not tell one generation from another
  int cores = 0;                            // logical processors that are online
  std::vector<std::string> features{};      // of those that kerf's instruction-set levels are made of, in their order
  Isa isa = Isa::base;                      // found by trial (core/isa.h)
  int64_t l1d = 0, l2 = 0, l3 = 0;          // bytes of the caches that the first core sees; 0: none, or unknown
  bool operator==(const Machine&) const = default;
};

/// Reads /proc/cpuinfo and /sys/devices/system/cpu; runs detect_isa().
Machine identify_machine();

/// The extensions that a level adds to the one below, by the names of /proc/cpuinfo.
std::span<const std::string_view> extensions_of(Isa isa);

/// 1, 5 and 15 minutes; zeros if the system does not say.
struct LoadAverage {
  double one = 0, five = 0, fifteen = 0;
};
LoadAverage load_average();

/// Bytes the system could give without swapping (MemAvailable); 0 if it does not say.
int64_t available_memory_bytes();

}  // namespace kerf
