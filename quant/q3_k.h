// Q3_K: 256 values in 16 groups of 16; signed 3-bit codes stored with 4 added, signed 6-bit scale per group stored with
// 32 added. 3.4375 bits per value.
//
//   byte  0            32                          96              108     110
//         | hmask[32]   | qs[64]                    | scales[12]     | d f16 |
//
//   value 128n + 32j + l (l < 32): low two bits of the code as in Q2_K, bit 2 is bit 4n + j of hmask[l].
//   scale g: low four bits are a nibble of scales[g % 8] (high nibble for g >= 8),
//            high two bits are bits 2(g/4), 2(g/4)+1 of scales[8 + g%4].
//   value = d * (scale - 32) * (code - 4)                            Source: ggml-org/ggml, block_q3_K.
#pragma once
#include "quant/format.h"

namespace kerf::quant {
inline namespace KERF_ISA {

struct Q3_K {
  static constexpr DType dtype = DType::q3_k;
  static constexpr int kOffset = 4;
  static constexpr bool kHasMin = false;
  struct Block {
    uint8_t hmask[32];
    uint8_t qs[64];
    uint8_t scales[12];
    uint16_t d;
  };

  static constexpr int code(const Block& b, int i) {
    const int quarter = i / 32, low = b.qs[i / 128 * 32 + i % 32] >> (quarter % 4 * 2) & 3;
    return low | (b.hmask[i % 32] >> quarter & 1) << 2;
  }
  static constexpr float scale_of(const Block& b, int g) {
    const int low = g < 8 ? b.scales[g] & 15 : b.scales[g - 8] >> 4, high = b.scales[8 + g % 4] >> (g / 4 * 2) & 3;
    return half_to_float(b.d) * static_cast<float>((low | high << 4) - 32);
  }
  static constexpr float at(const Block& b, int i) { return scale_of(b, i / 16) * static_cast<float>(code(b, i) - kOffset); }

  static constexpr void split(const Block& b, uint8_t* codes, float* scale, float*) {
    for (int i = 0; i < 256; ++i) codes[i] = static_cast<uint8_t>(code(b, i));
    for (int g = 0; g < 16; ++g) scale[g] = scale_of(b, g);
  }
};
static_assert(AffineFormat<Q3_K>);

}  // namespace KERF_ISA
}  // namespace kerf::quant
