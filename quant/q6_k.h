// Q6_K: 256 values in 16 groups of 16; signed 6-bit codes stored with 32 added, signed 8-bit scale per group.
// 6.5625 bits per value.
//
//   byte  0                                   128                192            208     210
//         | ql[128]                            | qh[64]            | scales[16]  | d f16 |
//
//   value 128n + 32t + l (l < 32): low four bits are a nibble of ql[64n + 32(t%2) + l] (high nibble for t >= 2),
//                                  high two bits are bits 2t, 2t+1 of qh[32n + l].
//   value = d * scale * (code - 32)                                  Source: ggml-org/ggml, block_q6_K.
#pragma once
#include "quant/format.h"

namespace kerf::quant {
inline namespace KERF_ISA {

struct Q6_K {
  static constexpr DType dtype = DType::q6_k;
  static constexpr int kOffset = 32;
  static constexpr bool kHasMin = false;
  struct Block {
    uint8_t ql[128];
    uint8_t qh[64];
    int8_t scales[16];
    uint16_t d;
  };

  static constexpr int code(const Block& b, int i) {
    const int n = i / 128, t = i % 128 / 32, l = i % 32;
    return (b.ql[64 * n + 32 * (t % 2) + l] >> (t / 2 * 4) & 15) | (b.qh[32 * n + l] >> (2 * t) & 3) << 4;
  }
  static constexpr float scale_of(const Block& b, int g) { return half_to_float(b.d) * static_cast<float>(b.scales[g]); }
  static constexpr float at(const Block& b, int i) { return scale_of(b, i / 16) * static_cast<float>(code(b, i) - kOffset); }

  static constexpr void split(const Block& b, uint8_t* codes, float* scale, float*) {
    for (int i = 0; i < 256; ++i) codes[i] = static_cast<uint8_t>(code(b, i));
    for (int g = 0; g < 16; ++g) scale[g] = scale_of(b, g);
  }
};
static_assert(AffineFormat<Q6_K>);

}  // namespace KERF_ISA
}  // namespace kerf::quant
