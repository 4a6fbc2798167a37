// q15_t16: activations for an int8 matrix unit, 15 bits each. Groups of 512 values of a row share a step, a power of two;
// the last group of a row may be shorter. A value is step * q with |q| <= 16319, and q is two signed bytes:
//
//   q = 128 hi + lo,   hi = floor((q + 64) / 128) in -127..127,   lo in -64..63
//
// so that a product of two such values is three byte products and a small rest: 16384 hi hi' + 128 (hi lo' + lo hi') + lo lo'.
// (Splitting integers for an int8 matrix unit: Ootomo, Ozaki, Yokota 2024, "DGEMM on integer matrix multiplication unit".)
//
//   step = the smallest 2^n >= 2^-112 with 16319 * 2^n >= largest |x| of the group,   q = x / step rounded to nearest even
//
// Steps that are powers of two cost half a bit on average, and make scaling exact: integers and f16 weights within a
// factor of 16 of the largest keep all their bits. A group with NaN or infinity has q = 0 and step = NaN.
// (Within 2^114 of f32's largest value q rounds to 8192 steps of 2^115, which is infinity.)
//
// [T,K] is ceil(T/16) strips of 16 rows, K a multiple of 64; rows that the last strip lacks are zeros. A strip:
//
//   K/64 times two tiles of 1 KB:  int8 hi[k/4][t][k%4], then int8 lo[k/4][t][k%4],  k < 64, t < 16
//   f32 step[K/64][16]             of each 64 values of each row: a group's is there eight times
//
// The order within a tile is how TDPBSSD reads its second operand (Intel SDM vol. 2).
#pragma once
#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>

#include "core/dtype.h"
#include "core/half.h"

namespace kerf::quant {
inline namespace KERF_ISA {

struct Q15_T16 {
  static constexpr DType dtype = DType::q15_t16;
  static constexpr int64_t kRows = 16, kCols = 64, kGroup = 512, kTileBytes = kRows * kCols;
  static constexpr int kMost = 16319;  // 127 * 128 + 63

  static constexpr int64_t strip_bytes(int64_t K) { return K / kCols * (2 * kTileBytes + 4 * kRows); }
  /// Bytes from the start of the tensor to hi of element (t, k); lo is kTileBytes further on.
  static constexpr int64_t code_at(int64_t t, int64_t k, int64_t K) {
    return t / kRows * strip_bytes(K) + k / kCols * 2 * kTileBytes + k % kCols / 4 * 64 + t % kRows * 4 + k % 4;
  }
  /// Bytes from the start of the tensor to the step of element (t, k).
  static constexpr int64_t step_at(int64_t t, int64_t k, int64_t K) {
    return t / kRows * strip_bytes(K) + K / kCols * 2 * kTileBytes + (k / kCols * kRows + t % kRows) * 4;
  }

  /// The step of a group from its largest |x|. 0x103FF carries into the exponent if 16319 steps of the smaller power of two
  /// do not reach: 16319 = 2^13 (1 + 0.9920654...), whose fraction is 2^23 - 0x10400 units.
  static float step_of(float largest) {
    const auto bits = std::bit_cast<uint32_t>(largest);
    if (bits >= 0x7F800000u) return std::numeric_limits<float>::quiet_NaN();
    const uint32_t exponent = (bits + 0x103FF) >> 23;  // of the step: 13 less
    return std::bit_cast<float>((exponent > 28 ? exponent - 13 : 15) << 23);
  }
  /// 1 / step, or 0 for NaN.
  static float inverse_of(float step) { return step > 0 ? std::bit_cast<float>((254u << 23) - std::bit_cast<uint32_t>(step)) : 0.f; }

  struct Code {
    int8_t hi, lo;
    int value() const { return 128 * hi + lo; }
  };
  static Code split(int q) {
    const int hi = (q + 64) >> 7;
    return {static_cast<int8_t>(hi), static_cast<int8_t>(q - 128 * hi)};
  }

  /// Step and codes of n <= kGroup values.
  static float encode_group(const float* x, int64_t n, Code* codes) {
    float largest = 0;
    bool finite = true;
    for (int64_t i = 0; i < n; ++i) {
      largest = std::fabs(x[i]) > largest ? std::fabs(x[i]) : largest;
      finite &= std::fabs(x[i]) <= 0x1.fffffep127f;
    }
    const float step = finite ? step_of(largest) : std::numeric_limits<float>::quiet_NaN(), inverse = inverse_of(step);
    for (int64_t i = 0; i < n; ++i) codes[i] = split(finite ? static_cast<int>(std::nearbyint(x[i] * inverse)) : 0);
    return step;
  }
};
static_assert(Q15_T16::strip_bytes(Q15_T16::kCols) == Q15_T16::kRows * info(DType::q15_t16).block_bytes);

}  // namespace KERF_ISA
}  // namespace kerf::quant
