// q8_g32: what integer matmul kernels read activations in. Never stored in a file. Groups of 32 values share a scale (in
// llama.cpp K-quants meet Q8_K, which has one for 256, and the older types Q8_0, which has 32 too).
// A row of K values (K a multiple of 32) is three planes, one after the other:
//
//   int8 q[K]      f32 d[K/16]      f32 sum[K/16]              1.5 K bytes
//
//   d = largest |x| of the group / 127, q = x / d rounded to nearest even, sum = the sum of q of half a group (an integer).
//   value = d * q.   sum lets a kernel treat weights as unsigned codes: sum (c - o) q = sum c q - o sum q, exactly.
//
// d stands in the row twice, once for each half of a group: scales of weights are as fine as 16 values, and kernels pair
// sixteen of them with sixteen of these, a register each.
// Why not 16, as it was: a kernel spends 8 instructions on the products of 32 values, and two more on a second scale. 256 would
// save one more, and lose accuracy where values differ most.
//
// A group of zeros has d = 0. A group with NaN or infinity has q = 0 and d = NaN: whatever it is multiplied by is NaN.
#pragma once
#include <cmath>
#include <limits>

#include "quant/format.h"

namespace kerf::quant {
inline namespace KERF_ISA {

struct Q8_G32 {
  static constexpr DType dtype = DType::q8_g32;
  static constexpr int kGroup = 32, kHalf = 16;

  /// The planes of one row.
  struct Row {
    const int8_t* q;
    const float* d;
    const float* sum;
  };
  static Row row(const void* bytes, int64_t K) {
    const auto* q = static_cast<const int8_t*>(bytes);
    const auto* d = reinterpret_cast<const float*>(q + K);
    return {q, d, d + K / kHalf};
  }

  static float at(const void* bytes, int64_t K, int64_t i) {
    const Row r = row(bytes, K);
    return r.d[i / kHalf] * static_cast<float>(r.q[i]);
  }

  static void decode_row(const void* bytes, int64_t K, float* out) {
    for (int64_t i = 0; i < K; ++i) out[i] = at(bytes, K, i);
  }

  static void encode_row(const float* x, int64_t K, void* bytes) {
    auto* q = static_cast<int8_t*>(bytes);
    auto* d = reinterpret_cast<float*>(q + K);
    auto* sum = d + K / kHalf;
    for (int64_t i = 0; i < K; i += kGroup) encode_group(x + i, q + i, d + i / kHalf, sum + i / kHalf);
  }

  /// 32 values, and both entries of d and sum.
  static void encode_group(const float* x, int8_t* q, float* d, float* sum) {
    float largest = 0;
    bool finite = true;
    for (int i = 0; i < kGroup; ++i) {
      largest = std::fabs(x[i]) > largest ? std::fabs(x[i]) : largest;
      finite &= std::fabs(x[i]) <= 0x1.fffffep127f;
    }
    const float step = finite ? largest / 127 : std::numeric_limits<float>::quiet_NaN();
    int total[2] = {};
    for (int i = 0; i < kGroup; ++i) {
      // Dividing (not multiplying by 1/d) keeps |x/d| near 127 for subnormal d; there d is coarse, hence the clamp.
      const float ratio = step > 0 ? x[i] / step : 0;
      const float code = std::nearbyint(ratio < -127 ? -127 : ratio > 127 ? 127 : ratio);
      q[i] = static_cast<int8_t>(code);
      total[i / kHalf] += q[i];
    }
    for (int h = 0; h < 2; ++h) d[h] = step, sum[h] = static_cast<float>(total[h]);
  }
};

}  // namespace KERF_ISA
}  // namespace kerf::quant
