// One run of a kernel where nothing it must not touch stays unwatched: guard bytes around every tensor and around scratch, and a
// pattern in everything that has no value yet.
#pragma once
#include <string>
#include <vector>

#include "core/device.h"
#include "core/threadpool.h"
#include "experiments/kernel_data.h"

namespace kerf {

/// NaN in every float format and -1 as an index; then small positive numbers. A result that reads either shows it.
inline constexpr std::byte kPatterns[] = {std::byte{0xFF}, std::byte{0x35}};

struct Attempt {
  std::string failure{};                      // empty: it stayed within its bounds
  std::vector<std::vector<std::byte>> out{};  // by output
};
/// Runs on fresh copies of everything, on `device` (null: the host), in the device's memory.
Attempt attempt(const Kernel& kernel, const Problem& p, const KernelInputs& inputs, ThreadPool& pool, std::byte pattern, Device* device = nullptr);

/// A tensor of any decodable dtype, or of i32, as floats.
std::vector<float> decoded(const TensorDesc& d, const std::vector<std::byte>& bytes);

}  // namespace kerf
