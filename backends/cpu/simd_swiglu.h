// swiglu in vectors: exp is xsimd's (argument reduced to [-ln2/2, ln2/2], a polynomial, then a change of the exponent;
// Cody & Waite's scheme), within one or two units in the last place, for 8 or 16 values at a time.
#pragma once
#include "backends/cpu/simd_batch.h"
#include "backends/cpu/simd_loop.h"
#include "core/kernel.h"

namespace kerf::cpu {
inline namespace KERF_ISA {

template <class B>
void swiglu(const Problem&, const Call& call) {
  const auto *gate = call.in[0].as<float>(), *up = call.in[1].as<float>();
  auto* out = call.out[0].as<float>();
  for_each_span(call.pool, call.in[0].desc.size(), kSpanValues, [&](int64_t begin, int64_t end) {
    map2<B>(gate + begin, up + begin, out + begin, end - begin, [](const B& g, const B& u) { return g / (B(1.f) + xsimd::exp(-g)) * u; });
  });
}

}  // namespace KERF_ISA
}  // namespace kerf::cpu
