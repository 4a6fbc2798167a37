// What a GPU can do at most, by the probes its backend brings along.
#pragma once
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "core/device.h"

namespace kerf {

struct ProbeFigure {
  std::string name{}, note{};
  double gb_per_s = 0, gflop_per_s = 0;  // one of them
  int runs = 0;
};
struct DeviceRoof {
  DeviceId device{};
  int64_t buffer = 0;  // bytes the probes worked on
  std::vector<ProbeFigure> figures{};
  std::vector<uint32_t> layout{};  // what kLayoutProbe wrote
};

/// Medians of runs that take `seconds` in all. @param buffer bytes; 0: 1 GiB, or a quarter of what the device has
/// @throws Error(usage) for a device that has no probes
DeviceRoof measure_device(Device& device, double seconds, int64_t buffer, const std::function<void(int64_t done, int64_t total)>& progress);

}  // namespace kerf
