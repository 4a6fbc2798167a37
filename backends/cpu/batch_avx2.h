// The vectors of the float ops' rungs with 8 lanes.
#pragma once
#include <immintrin.h>

#include "backends/cpu/simd_batch.h"

namespace kerf::cpu {
inline namespace KERF_ISA {

using BatchAvx2 = xsimd::batch<float, xsimd::fma3<xsimd::avx2>>;

template <>
struct Instructions<BatchAvx2> {
  static BatchAvx2 swap_neighbours(const BatchAvx2& x) { return _mm256_permute_ps(x, 0xB1); }
  static void store_halves(const BatchAvx2& x, uint16_t* out) {
    _mm_storeu_si128(reinterpret_cast<__m128i*>(out), _mm256_cvtps_ph(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
  }
};

}  // namespace KERF_ISA
}  // namespace kerf::cpu
