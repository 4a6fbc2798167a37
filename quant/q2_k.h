// Q2_K: 256 values in 16 groups of 16; 2-bit codes, 4-bit scale and minimum per group. 2.625 bits per value.
//
//   byte  0               16                                80      82        84
//         | scales[16]     | qs[64]                          | d f16 | dmin f16 |
//
//   scales[g] = scale of group g  |  minimum of group g << 4
//   value 128n + 32j + l (l < 32) has its code in bits 2j, 2j+1 of qs[32n + l]: the four quarters of a half share bytes.
//   value = d * scale * code - dmin * minimum                        Source: ggml-org/ggml, block_q2_K.
#pragma once
#include "quant/format.h"

namespace kerf::quant {
inline namespace KERF_ISA {

struct Q2_K {
  static constexpr DType dtype = DType::q2_k;
  static constexpr int kOffset = 0;
  static constexpr bool kHasMin = true;
  struct Block {
    uint8_t scales[16];
    uint8_t qs[64];
    uint16_t d, dmin;
  };

  static constexpr int code(const Block& b, int i) { return b.qs[i / 128 * 32 + i % 32] >> (i % 128 / 32 * 2) & 3; }
  static constexpr float scale_of(const Block& b, int g) { return half_to_float(b.d) * static_cast<float>(b.scales[g] & 15); }
  static constexpr float min_of(const Block& b, int g) { return half_to_float(b.dmin) * static_cast<float>(b.scales[g] >> 4); }
  static constexpr float at(const Block& b, int i) { return scale_of(b, i / 16) * static_cast<float>(code(b, i)) - min_of(b, i / 16); }

  static constexpr void split(const Block& b, uint8_t* codes, float* scale, float* min) {
    for (int i = 0; i < 256; ++i) codes[i] = static_cast<uint8_t>(code(b, i));
    for (int g = 0; g < 16; ++g) scale[g] = scale_of(b, g), min[g] = min_of(b, g);
  }
};
static_assert(AffineFormat<Q2_K>);

}  // namespace KERF_ISA
}  // namespace kerf::quant
