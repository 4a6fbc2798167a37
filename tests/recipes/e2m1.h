// E2M1 with an f16 scale, recipe: 32 values of four bits, 4.5 bits per value.
//
//   byte  0        2                      18
//         | d f16  | qs[16]                |      qs[j] = code of value j  |  code of value j+16 << 4
//
//   value = d * level, level = +-{0, 0.5, 1, 1.5, 2, 3, 4, 6}; the top bit of a code is the sign
//
// Source of the levels: OCP Microscaling Formats (MX) 1.0, FP4. The size is q4_0's, whose row in kDTypes stands in here.
#pragma once
#include "quant/format.h"

namespace kerf::recipe {
inline namespace KERF_ISA {

struct E2M1 {
  static constexpr DType dtype = DType::q4_0;
  static constexpr float kLevels[8] = {0, 0.5f, 1, 1.5f, 2, 3, 4, 6};
  struct Block {
    uint16_t d;
    uint8_t qs[16];
  };

  static int code(const Block& b, int i) { return i < 16 ? b.qs[i] & 15 : b.qs[i - 16] >> 4; }
  static float level(int code) { return code & 8 ? -kLevels[code & 7] : kLevels[code]; }
  static float at(const Block& b, int i) { return half_to_float(b.d) * level(code(b, i)); }
};
static_assert(quant::BlockFormat<E2M1>);

}  // namespace KERF_ISA
}  // namespace kerf::recipe
