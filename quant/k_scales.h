// The 12 bytes that Q4_K and Q5_K use for eight 6-bit scales and eight 6-bit minima:
//
//   bytes 0..3   scale s     (bits 0-5), bits 4-5 of scale s+4   (bits 6-7)      s = 0..3
//   bytes 4..7   minimum s   (bits 0-5), bits 4-5 of minimum s+4 (bits 6-7)
//   bytes 8..11  bits 0-3 of scale s+4 (bits 0-3) and of minimum s+4 (bits 4-7)
//
// Source: ggml-org/ggml, get_scale_min_k4 states the same map index by index.
#pragma once
#include "quant/format.h"

namespace kerf::quant {
inline namespace KERF_ISA {

/// Byte s of each word is scale s or minimum s.
struct KScales {
  uint64_t scales, mins;
};

/// All sixteen at once, four bytes per 32-bit operation.
constexpr KScales k_scales(const uint8_t* packed) {
  const uint32_t a = word_at(packed), b = word_at(packed + 4), c = word_at(packed + 8);
  const uint32_t scales_low = a & 0x3F3F3F3Fu, scales_high = (c & 0x0F0F0F0Fu) | (a >> 2 & 0x30303030u);
  const uint32_t mins_low = b & 0x3F3F3F3Fu, mins_high = (c >> 4 & 0x0F0F0F0Fu) | (b >> 2 & 0x30303030u);
  return {scales_low | static_cast<uint64_t>(scales_high) << 32, mins_low | static_cast<uint64_t>(mins_high) << 32};
}

constexpr float byte_of(uint64_t bytes, int i) { return static_cast<float>(bytes >> (8 * i) & 0xFF); }

}  // namespace KERF_ISA
}  // namespace kerf::quant
