// Q8_0: 32 values, one f16 scale, signed 8-bit codes. 8.5 bits per value.
//
//   byte  0        2                                      34
//         | d f16  | qs[32] i8                             |
//
//   value = d * q                                               Source: ggml-org/ggml, block_q8_0.
// As an affine format the code is q + 128, which is q with its sign bit flipped.
#pragma once
#include "quant/format.h"

namespace kerf::quant {
inline namespace KERF_ISA {

struct Q8_0 {
  static constexpr DType dtype = DType::q8_0;
  static constexpr int kOffset = 128;
  static constexpr bool kHasMin = false;
  struct Block {
    uint16_t d;
    int8_t qs[32];
  };

  static constexpr float at(const Block& b, int i) { return half_to_float(b.d) * static_cast<float>(b.qs[i]); }

  static constexpr void split(const Block& b, uint8_t* codes, float* scale, float*) {
    for (int i = 0; i < 32; ++i) codes[i] = static_cast<uint8_t>(b.qs[i] + kOffset);
    scale[0] = scale[1] = half_to_float(b.d);
  }
};
static_assert(AffineFormat<Q8_0>);

}  // namespace KERF_ISA
}  // namespace kerf::quant
