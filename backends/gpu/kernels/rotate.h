// One value of a head after rope: what rope and rope_cache share.
#pragma once
#include "backends/gpu/gpu.h"

namespace kerf::KERF_GPU_NS {

struct Rotation {
  int dims = 0;  // that are rotated; the rest of a head is copied
  bool neighbours = false;
};
inline Rotation rotation_of(const Rope& op, const TensorDesc& table) {
  return {.dims = static_cast<int>(table.cols()), .neighbours = op.pairing == RopePairing::norm};
}

/// Value d of `head`. angles: dims / 2 cosines, then as many sines.
KERF_DEVICE float rotated(const Rotation& r, const float* head, const float* angles, int d) {
  if (d >= r.dims) return head[d];
  const int half = r.dims / 2, i = r.neighbours ? d / 2 : d % half;
  const bool is_first = r.neighbours ? d % 2 == 0 : d < half;
  const float a = head[r.neighbours ? 2 * i : i], b = head[r.neighbours ? 2 * i + 1 : i + half], cos = angles[i], sin = angles[half + i];
  return is_first ? fmaf(a, cos, -(b * sin)) : fmaf(a, sin, b * cos);
}

}  // namespace kerf::KERF_GPU_NS
