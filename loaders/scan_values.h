// Looking for NaN and infinity in a tensor's bytes without decoding it: in float values, and in the float scales of
// block formats (the codes beside them are small integers and always finite).
#pragma once
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>

#include "core/tensor.h"

namespace kerf {

struct BadValue {
  uint64_t index = 0;  // of the value, or of the block
  uint64_t byte = 0;   // from the start of the data
  std::string what{};  // "nan", "-inf"; for blocks "scale is inf"
};

/// @param bytes exactly desc.bytes() of them.
std::optional<BadValue> first_bad_value(const TensorDesc& desc, std::span<const std::byte> bytes);

}  // namespace kerf
