// Q4_K: 256 values in 8 sub-blocks of 32; 4-bit codes, 6-bit scale and minimum per sub-block. 4.5 bits per value.
//
//   byte  0       2          4             16                                          144
//         | d f16 | dmin f16 | scales[12]   | qs[128]                                   |
//
//   scales: quant/k_scales.h. Sub-blocks 2i and 2i+1 share qs[32i .. 32i+31]: low nibbles, high nibbles.
//   value = d * scale * code - dmin * minimum                        Source: ggml-org/ggml, block_q4_K.
#pragma once
#include "quant/k_scales.h"

namespace kerf::quant {
inline namespace KERF_ISA {

struct Q4_K {
  static constexpr DType dtype = DType::q4_k;
  static constexpr int kOffset = 0;
  static constexpr bool kHasMin = true;
  struct Block {
    uint16_t d, dmin;
    uint8_t scales[12];
    uint8_t qs[128];
  };

  static constexpr int code(const Block& b, int i) { return b.qs[i / 64 * 32 + i % 32] >> (i / 32 % 2 * 4) & 15; }
  static constexpr float at(const Block& b, int i) {
    const KScales s = k_scales(b.scales);
    const float scale = half_to_float(b.d) * byte_of(s.scales, i / 32), min = half_to_float(b.dmin) * byte_of(s.mins, i / 32);
    return scale * static_cast<float>(code(b, i)) - min;
  }

  static constexpr void split(const Block& b, uint8_t* codes, float* scale, float* min) {
    const KScales s = k_scales(b.scales);
    for (int i = 0; i < 256; ++i) codes[i] = static_cast<uint8_t>(code(b, i));
    for (int g = 0; g < 16; ++g) scale[g] = half_to_float(b.d) * byte_of(s.scales, g / 2), min[g] = half_to_float(b.dmin) * byte_of(s.mins, g / 2);
  }
};
static_assert(AffineFormat<Q4_K>);

}  // namespace KERF_ISA
}  // namespace kerf::quant
