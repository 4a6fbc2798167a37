// The reading loop of roof/loops.h over a vector type: V::load(p), V::bytes.
#pragma once
#include <xmmintrin.h>

#include "core/half.h"
#include "experiments/roof/loops.h"

namespace kerf::roof {
inline namespace KERF_ISA {

/// Each vector only has to arrive in a register: the empty assembler takes it there. Adding it up would cost a quarter of
/// the speed in L1 (297 instead of 390 GB/s on one core), and nothing in memory.
template <class V, int Streams, bool Prefetch>
void read_streams(const std::byte* p, int64_t bytes, int64_t passes, int64_t ahead) {
  const int64_t run = bytes / Streams;
  for (int64_t pass = 0; pass < passes; ++pass)
    for (int64_t o = 0; o < run; o += kReadStep)
      for (int s = 0; s < Streams; ++s) {
        const std::byte* q = p + s * run + o;
        if constexpr (Prefetch)
          for (int64_t line = 0; line < kReadStep; line += 64) _mm_prefetch(reinterpret_cast<const char*>(q + ahead + line), _MM_HINT_T0);
        for (int64_t i = 0; i < kReadStep; i += V::bytes) {
          const auto v = V::load(q + i);
          __asm__ volatile("" ::"v"(v));
        }
      }
}

template <class V>
void read_with(const std::byte* p, int64_t bytes, int64_t passes, int streams, int64_t ahead) {
  if (streams == 1)
    ahead > 0 ? read_streams<V, 1, true>(p, bytes, passes, ahead) : read_streams<V, 1, false>(p, bytes, passes, 0);
  else
    ahead > 0 ? read_streams<V, kMaxStreams, true>(p, bytes, passes, ahead) : read_streams<V, kMaxStreams, false>(p, bytes, passes, 0);
}

}  // namespace KERF_ISA
}  // namespace kerf::roof
