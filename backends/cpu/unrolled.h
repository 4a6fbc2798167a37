// Loops without a loop.
#pragma once
#include <utility>

namespace kerf::cpu {
inline namespace KERF_ISA {

/// f<0>() .. f<n - 1>(), one after the other. A loop that GCC leaves rolled keeps addresses and sums in memory.
template <int n, class Fn>
[[gnu::always_inline]] inline void unrolled(Fn&& f) {
  [&]<int... i>(std::integer_sequence<int, i...>) __attribute__((always_inline)) { (f.template operator()<i>(), ...); }
  (std::make_integer_sequence<int, n>{});
}

}  // namespace KERF_ISA
}  // namespace kerf::cpu
