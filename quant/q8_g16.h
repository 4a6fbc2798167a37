// q8_g16: what integer matmul kernels read activations in. Never stored in a file. Groups of 16 values share a scale
// (llama.cpp's Q8_0 / Q8_K use 32 and 256), so that rounding costs less: the step follows the largest of 16 values.
// A row of K values (K a multiple of 32) is three planes, one after the other:
//
//   int8 q[K]      f32 d[K/16]      f32 sum[K/16]              1.5 K bytes
//
//   d = largest |x| of the group / 127, q = x / d rounded to nearest even, sum = the group's sum of q (an integer).
//   value = d * q.   sum lets a kernel treat weights as unsigned codes: sum (c - o) q = sum c q - o sum q, exactly.
//
// A group of zeros has d = 0. A group with NaN or infinity has q = 0 and d = NaN: whatever it is multiplied by is NaN.
#pragma once
#include <cmath>
#include <limits>

#include "quant/format.h"

namespace kerf::quant {
inline namespace KERF_ISA {

struct Q8_G16 {
  static constexpr DType dtype = DType::q8_g16;
  static constexpr int kGroup = 16;

  /// The planes of one row.
  struct Row {
    const int8_t* q;
    const float* d;
    const float* sum;
  };
  static Row row(const void* bytes, int64_t K) {
    const auto* q = static_cast<const int8_t*>(bytes);
    const auto* d = reinterpret_cast<const float*>(q + K);
    return {q, d, d + K / kGroup};
  }

  static float at(const void* bytes, int64_t K, int64_t i) {
    const Row r = row(bytes, K);
    return r.d[i / kGroup] * static_cast<float>(r.q[i]);
  }

  static void decode_row(const void* bytes, int64_t K, float* out) {
    for (int64_t i = 0; i < K; ++i) out[i] = at(bytes, K, i);
  }

  static void encode_row(const float* x, int64_t K, void* bytes) {
    auto* q = static_cast<int8_t*>(bytes);
    auto* d = reinterpret_cast<float*>(q + K);
    auto* sum = d + K / kGroup;
    for (int64_t g = 0; g < K / kGroup; ++g) encode_group(x + g * kGroup, q + g * kGroup, d[g], sum[g]);
  }

  static void encode_group(const float* x, int8_t* q, float& d, float& sum) {
    float largest = 0;
    bool finite = true;
    for (int i = 0; i < kGroup; ++i) {
      largest = std::fabs(x[i]) > largest ? std::fabs(x[i]) : largest;
      finite &= std::fabs(x[i]) <= 0x1.fffffep127f;
    }
    d = finite ? largest / 127 : std::numeric_limits<float>::quiet_NaN();
    int total = 0;
    for (int i = 0; i < kGroup; ++i) {
      // Dividing (not multiplying by 1/d) keeps |x/d| near 127 for subnormal d; there d is coarse, hence the clamp.
      const float ratio = d > 0 ? x[i] / d : 0;
      const float code = std::nearbyint(ratio < -127 ? -127 : ratio > 127 ? 127 : ratio);
      q[i] = static_cast<int8_t>(code);
      total += q[i];
    }
    sum = static_cast<float>(total);
  }
};

}  // namespace KERF_ISA
}  // namespace kerf::quant
