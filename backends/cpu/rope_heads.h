// The rotation of the heads of one token, pair by pair: what rope and rope_cache without vectors share.
// norm pairs neighbours (x[2i], x[2i+1]); neox pairs the halves (x[i], x[i + dims/2]). The rest of a head is copied.
#pragma once
#include <cstdint>

#include "core/op.h"

namespace kerf::cpu {

/// x, out [cols] in heads of op.head_dim; angles [dims]: cosines of the pairs, then sines.
inline void rotate_heads(const Rope& op, const float* x, int64_t cols, const float* angles, int64_t dims, float* out) {
  const int64_t half = dims / 2, stride = op.pairing == RopePairing::norm ? 2 : 1, distance = op.pairing == RopePairing::norm ? 1 : half;
  for (int64_t h = 0; h < cols; h += op.head_dim) {
    for (int64_t i = 0; i < half; ++i) {
      const int64_t first = h + i * stride, second = first + distance;
      const float a = x[first], b = x[second], c = angles[i], s = angles[half + i];
      out[first] = a * c - b * s;
      out[second] = a * s + b * c;
    }
    for (int64_t i = h + dims; i < h + op.head_dim; ++i) out[i] = x[i];
  }
}

}  // namespace kerf::cpu
