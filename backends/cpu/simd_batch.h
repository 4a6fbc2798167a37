// Loops over float arrays in vectors of an xsimd batch B. The rest of a row that does not fill a vector goes through the
// same vector arithmetic with zeros in the free lanes: an element's bits never depend on where in a row or span it stands.
#pragma once
#include <cstdint>
#include <xsimd/xsimd.hpp>

namespace kerf::cpu {
inline namespace KERF_ISA {

template <class B>
constexpr int64_t kLanes = static_cast<int64_t>(B::size);

template <class B>
inline B load_part(const float* p, int64_t n) {
  alignas(64) float lanes[B::size] = {};
  for (int64_t i = 0; i < n; ++i) lanes[i] = p[i];
  return B::load_aligned(lanes);
}

template <class B>
inline void store_part(const B& value, float* p, int64_t n) {
  alignas(64) float lanes[B::size];
  value.store_aligned(lanes);
  for (int64_t i = 0; i < n; ++i) p[i] = lanes[i];
}

/// What xsimd has no name for, or none that works: batch_avx2.h and batch_avx512.h specialise it.
///   fma(a, b, c): a b + c rounded once. xsimd 8's own is a product and a sum for AVX-512.
///   swap_neighbours(x0 x1 x2 x3 ..) = x1 x0 x3 x2 ..      store_halves(x, uint16_t*): rounded to binary16
///   sum(x): the sum of all lanes, in each of them      sums(x): lane i = the sum of x[i]'s lanes, the same bits
///   every_fourth(p, out): out[j] = p[j] p[4 + j] p[8 + j] ..., j < 4
template <class B>
struct Instructions;

/// out[i] = f(in[i] ...) for i in [0, n).
template <class B, class F, class... In>
inline void map(float* out, int64_t n, const F& f, const In*... in) {
  int64_t i = 0;
  for (; i + kLanes<B> <= n; i += kLanes<B>) f(B::load_unaligned(in + i)...).store_unaligned(out + i);
  if (i < n) store_part<B>(f(load_part<B>(in + i, n - i)...), out + i, n - i);
}

}  // namespace KERF_ISA
}  // namespace kerf::cpu
