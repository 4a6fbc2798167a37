// What one instruction reads or writes, of memory of any type.
#pragma once
#include "backends/gpu/gpu.h"

namespace kerf::KERF_GPU_NS {

struct alignas(16) [[gnu::may_alias]] Words4 {
  uint32_t w[4];
};
struct alignas(8) [[gnu::may_alias]] Words2 {
  uint32_t w[2];
};
struct alignas(16) [[gnu::may_alias]] Floats4 {
  float v[4];
};

/// One load, where the address is a multiple of T's alignment.
template <class T>
KERF_DEVICE T load(const void* p) {
  return *static_cast<const T*>(p);
}
/// Four bytes at a multiple of 2.
KERF_DEVICE uint32_t four(const void* p) {
  const auto* halves = static_cast<const uint16_t*>(p);
  return halves[0] | static_cast<uint32_t>(halves[1]) << 16;
}

}  // namespace kerf::KERF_GPU_NS
