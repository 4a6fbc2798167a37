// Q4_0: 32 values, one f16 scale, signed 4-bit codes stored with 8 added. 4.5 bits per value.
//
//   byte  0        2                      18
//         | d f16  | qs[16]                |      qs[j] = code of value j  |  code of value j+16 << 4
//
//   value = d * (code - 8)                        Source: ggml-org/ggml, block_q4_0.
#pragma once
#include "quant/format.h"

namespace kerf::quant {
inline namespace KERF_ISA {

struct Q4_0 {
  static constexpr DType dtype = DType::q4_0;
  static constexpr int kOffset = 8;
  static constexpr bool kHasMin = false;
  struct Block {
    uint16_t d;
    uint8_t qs[16];
  };

  static constexpr int code(const Block& b, int i) { return i < 16 ? b.qs[i] & 15 : b.qs[i - 16] >> 4; }
  static constexpr float at(const Block& b, int i) { return half_to_float(b.d) * static_cast<float>(code(b, i) - kOffset); }

  static constexpr void split(const Block& b, uint8_t* codes, float* scale, float*) {
    for (int i = 0; i < 32; ++i) codes[i] = static_cast<uint8_t>(code(b, i));
    scale[0] = scale[1] = half_to_float(b.d);
  }
};
static_assert(AffineFormat<Q4_0>);

}  // namespace KERF_ISA
}  // namespace kerf::quant
