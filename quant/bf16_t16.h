// bf16_t16: activations for a matrix unit. bfloat16 (the upper half of an f32, rounded to nearest even) in tiles of 16
// rows x 32 values, 1 KB each. [T,K] is ceil(T/16) rows of K/32 tiles, row after row; the rows that the last tiles lack
// are zeros.
//
// A tile holds pairs of consecutive values, sixteen rows of a pair side by side, as TDPBF16PS reads its second operand
// (Intel SDM vol. 2, "VNNI" order):   pair[k/2][t] = (x[t][k], x[t][k+1]),   k < 32 even, t < 16.
// So the weights are the first operand, whose rows are plain rows: sixteen rows of a weight unpack to a tile without a
// transposition, and two rows of a result become pairs of the next activations the same way.
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
    return (t / kRows * (K / kCols) + k / kCols) * kRows * kCols + k % kCols / 2 * kCols + t % kRows * 2 + k % 2;
  }
};

}  // namespace KERF_ISA
}  // namespace kerf::quant
