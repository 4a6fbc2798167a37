// f32, f16 and bf16 as formats of one value per block, so that code over BlockFormat serves them too.
#pragma once
#include "quant/format.h"

namespace kerf::quant {
inline namespace KERF_ISA {

struct F32 {
  static constexpr DType dtype = DType::f32;
  struct Block {
    float value;
  };
  static constexpr float at(const Block& b, int) { return b.value; }
};

struct F16 {
  static constexpr DType dtype = DType::f16;
  struct Block {
    uint16_t bits;
  };
  static constexpr float at(const Block& b, int) { return half_to_float(b.bits); }
};

struct BF16 {
  static constexpr DType dtype = DType::bf16;
  struct Block {
    uint16_t bits;
  };
  static constexpr float at(const Block& b, int) { return bf16_to_float(b.bits); }
};

static_assert(BlockFormat<F32> && BlockFormat<F16> && BlockFormat<BF16>);

}  // namespace KERF_ISA
}  // namespace kerf::quant
