// Q5_0: 32 values, one f16 scale, signed 5-bit codes stored with 16 added. 5.5 bits per value.
//
//   byte  0        2          6                      22
//         | d f16  | qh u32   | qs[16]                |     nibbles as in Q4_0; bit i of qh is bit 4 of code i
//
//   value = d * (code - 16)                                 Source: ggml-org/ggml, block_q5_0.
#pragma once
#include "quant/format.h"

namespace kerf::quant {
inline namespace KERF_ISA {

struct Q5_0 {
  static constexpr DType dtype = DType::q5_0;
  static constexpr int kOffset = 16;
  static constexpr bool kHasMin = false;
  struct Block {
    uint16_t d;
    uint8_t qh[4];  // bytes: a u32 here would be misaligned
    uint8_t qs[16];
  };

  static constexpr int code(const Block& b, int i) { return (i < 16 ? b.qs[i] & 15 : b.qs[i - 16] >> 4) | (b.qh[i / 8] >> (i % 8) & 1) << 4; }
  static constexpr float at(const Block& b, int i) { return half_to_float(b.d) * static_cast<float>(code(b, i) - kOffset); }

  static constexpr void split(const Block& b, uint8_t* codes, float* scale, float*) {
    for (int i = 0; i < 32; ++i) codes[i] = static_cast<uint8_t>(code(b, i));
    scale[0] = scale[1] = half_to_float(b.d);
  }
};
static_assert(AffineFormat<Q5_0>);

}  // namespace KERF_ISA
}  // namespace kerf::quant
