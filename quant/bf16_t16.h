// bf16_t16: activations for a matrix unit. bfloat16 (the upper half of an f32, rounded to nearest even) in tiles of 16
// rows x 32 values, 64 bytes a row and 1 KB a tile, as an AMX tile register holds them. [T,K] is ceil(T/16) rows of K/32
// tiles, row after row; the rows that the last tiles lack are zeros.
#pragma once
#include "core/half.h"
#include "core/tensor.h"

namespace kerf::quant {
inline namespace KERF_ISA {

struct BF16_T16 {
  static constexpr DType dtype = DType::bf16_t16;
  static constexpr int64_t kRows = 16, kCols = 32;
  /// Index of element (t, k), in values from the start of the tensor.
  static constexpr int64_t index(int64_t t, int64_t k, int64_t K) {
    return (t / kRows * (K / kCols) + k / kCols) * kRows * kCols + t % kRows * kCols + k % kCols;
  }
};

}  // namespace KERF_ISA
}  // namespace kerf::quant
