// Q5_1: 32 values, f16 scale and f16 minimum, unsigned 5-bit codes. 6 bits per value.
//
//   byte  0        2        4          8                      24
//         | d f16  | m f16  | qh u32   | qs[16]                |     codes as in Q5_0
//
//   value = d * code + m                                             Source: ggml-org/ggml, block_q5_1.
#pragma once
#include "quant/format.h"

namespace kerf::quant {
inline namespace KERF_ISA {

struct Q5_1 {
  static constexpr DType dtype = DType::q5_1;
  static constexpr int kOffset = 0;
  static constexpr bool kHasMin = true;
  struct Block {
    uint16_t d, m;
    uint8_t qh[4];
    uint8_t qs[16];
  };

  static constexpr int code(const Block& b, int i) { return (i < 16 ? b.qs[i] & 15 : b.qs[i - 16] >> 4) | (b.qh[i / 8] >> (i % 8) & 1) << 4; }
  static constexpr float at(const Block& b, int i) { return half_to_float(b.d) * static_cast<float>(code(b, i)) + half_to_float(b.m); }

  static constexpr void split(const Block& b, uint8_t* codes, float* scale, float* min) {
    for (int i = 0; i < 32; ++i) codes[i] = static_cast<uint8_t>(code(b, i));
    scale[0] = scale[1] = half_to_float(b.d);
    min[0] = min[1] = -half_to_float(b.m);
  }
};
static_assert(AffineFormat<Q5_1>);

}  // namespace KERF_ISA
}  // namespace kerf::quant
