// The vectors of the float ops' rungs with 16 lanes.
#pragma once
#include <immintrin.h>

#include "backends/cpu/simd_batch.h"
#include "backends/cpu/transpose.h"

namespace kerf::cpu {
inline namespace KERF_ISA {

using BatchAvx512 = xsimd::batch<float, xsimd::avx512f>;

template <>
struct Instructions<BatchAvx512> {
  static BatchAvx512 swap_neighbours(const BatchAvx512& x) { return _mm512_permute_ps(x, 0xB1); }
  static void store_halves(const BatchAvx512& x, uint16_t* out) {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(out), _mm512_cvtps_ph(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
  }
  static void every_fourth(const float* p, BatchAvx512* out) {
    transpose_quarter(reinterpret_cast<const std::byte*>(p), 16, 0, [&](int j, __m512i column) { out[j] = _mm512_castsi512_ps(column); });
  }
};

}  // namespace KERF_ISA
}  // namespace kerf::cpu
