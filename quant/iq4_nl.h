// IQ4_NL: 32 values, one f16 scale, 4-bit indices of sixteen levels that lie closer together around 0. 4.5 bits per value.
//
//   byte  0        2                      18
//         | d f16  | qs[16]                |      qs[j] = index of value j  |  index of value j+16 << 4
//
//   value = d * level[index]                      Source: ggml-org/ggml, block_iq4_nl and kvalues_iq4nl.
// Levels are signed bytes, -127 .. 113. As an affine format the code of a value is its level + 128.
#pragma once
#include "quant/format.h"

namespace kerf::quant {
inline namespace KERF_ISA {

/// The sixteen levels, each with 128 added: what integer kernels multiply, and what one byte shuffle looks up.
alignas(16) inline constexpr uint8_t kLevelCodes[16] = {1, 24, 45, 63, 79, 93, 106, 118, 129, 141, 153, 166, 181, 197, 217, 241};

/// kLevelCodes[i] without an array, which the code of a GPU can not index at the host's address.
constexpr int level_code(int i) { return static_cast<int>((i < 8 ? 0x766A5D4F3F2D1801u : 0xF1D9C5B5A6998D81u) >> (i % 8 * 8) & 0xFF); }
static_assert([] {
  for (int i = 0; i < 16; ++i)
    if (level_code(i) != kLevelCodes[i]) return false;
  return true;
}());

struct IQ4_NL {
  static constexpr DType dtype = DType::iq4_nl;
  static constexpr int kOffset = 128;
  static constexpr bool kHasMin = false;
  struct Block {
    uint16_t d;
    uint8_t qs[16];
  };

  static constexpr int code(const Block& b, int i) { return level_code(i < 16 ? b.qs[i] & 15 : b.qs[i - 16] >> 4); }
  static constexpr float at(const Block& b, int i) { return half_to_float(b.d) * static_cast<float>(code(b, i) - kOffset); }

  static constexpr void split(const Block& b, uint8_t* codes, float* scale, float*) {
    for (int i = 0; i < 32; ++i) codes[i] = static_cast<uint8_t>(code(b, i));
    scale[0] = scale[1] = half_to_float(b.d);
  }
};
static_assert(AffineFormat<IQ4_NL>);

}  // namespace KERF_ISA
}  // namespace kerf::quant
