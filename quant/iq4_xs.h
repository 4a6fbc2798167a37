// IQ4_XS: 256 values in 8 sub-blocks of 32; 4-bit indices of the levels of IQ4_NL, 6-bit scale per sub-block stored with 32
// added. 4.25 bits per value.
//
//   byte  0       2              4               8                                     136
//         | d f16 | scales_h u16 | scales_l[4]    | qs[128]                             |
//
//   scale s: low four bits are a nibble of scales_l[s/2] (high nibble for odd s), high two bits are bits 2s, 2s+1 of scales_h.
//   Sub-block s is qs[16s .. 16s+15]: low nibbles, then high nibbles.
//   value = d * (scale - 32) * level[index]                          Source: ggml-org/ggml, block_iq4_xs.
#pragma once
#include "quant/iq4_nl.h"

namespace kerf::quant {
inline namespace KERF_ISA {

struct IQ4_XS {
  static constexpr DType dtype = DType::iq4_xs;
  static constexpr int kOffset = 128;
  static constexpr bool kHasMin = false;
  struct Block {
    uint16_t d, scales_h;
    uint8_t scales_l[4];
    uint8_t qs[128];
  };

  static constexpr int code(const Block& b, int i) { return level_code(b.qs[i / 32 * 16 + i % 16] >> (i / 16 % 2 * 4) & 15); }
  static constexpr float scale_of(const Block& b, int s) {
    const int low = b.scales_l[s / 2] >> (s % 2 * 4) & 15, high = b.scales_h >> (2 * s) & 3;
    return half_to_float(b.d) * static_cast<float>((low | high << 4) - 32);
  }
  static constexpr float at(const Block& b, int i) { return scale_of(b, i / 32) * static_cast<float>(code(b, i) - kOffset); }

  static constexpr void split(const Block& b, uint8_t* codes, float* scale, float*) {
    for (int i = 0; i < 256; ++i) codes[i] = static_cast<uint8_t>(code(b, i));
    for (int g = 0; g < 16; ++g) scale[g] = scale_of(b, g / 2);
  }
};
static_assert(AffineFormat<IQ4_XS>);

}  // namespace KERF_ISA
}  // namespace kerf::quant
