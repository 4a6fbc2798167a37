// Loops on registers. The accumulators are variables with names, not an array: with one, GCC 12 keeps them in memory and
// the loop measures stores (97 instead of 223 GFLOP/s of fp32 on one core).
#pragma once
#include "core/half.h"
#include "experiments/roof/loops.h"

namespace kerf::roof {
inline namespace KERF_ISA {

/// n times s = step(s) on kChains registers; their sum by `add`. The empty assembler makes the compiler believe that they
/// changed, so that it can neither fold nor move the steps.
template <class V, class Step, class Add>
V spin(int64_t n, V start, Step&& step, Add&& add) {
  V a = start, b = start, c = start, d = start, e = start, f = start, g = start, h = start, i = start, j = start, k = start, l = start;
  static_assert(kChains == 12);
  for (int64_t left = n; left > 0; --left) {
    a = step(a), b = step(b), c = step(c), d = step(d), e = step(e), f = step(f);
    g = step(g), h = step(h), i = step(i), j = step(j), k = step(k), l = step(l);
    __asm__ volatile("" : "+v"(a), "+v"(b), "+v"(c), "+v"(d), "+v"(e), "+v"(f), "+v"(g), "+v"(h), "+v"(i), "+v"(j), "+v"(k), "+v"(l));
  }
  return add(add(add(add(a, b), add(c, d)), add(add(e, f), add(g, h))), add(add(i, j), add(k, l)));
}

/// n times s = add(s, product(x)) on kIntegerChains registers: for products of several instructions.
template <class V, class Product, class Add>
V spin_products(int64_t n, V start, Product&& product, Add&& add) {
  V a = start, b = start, c = start, d = start, w = start, x = start, y = start, z = start;
  static_assert(kIntegerChains == 4);
  for (int64_t left = n; left > 0; --left) {
    a = add(a, product(w)), b = add(b, product(x)), c = add(c, product(y)), d = add(d, product(z));
    __asm__ volatile("" : "+v"(a), "+v"(b), "+v"(c), "+v"(d), "+v"(w), "+v"(x), "+v"(y), "+v"(z));
  }
  return add(add(a, b), add(c, d));
}

}  // namespace KERF_ISA
}  // namespace kerf::roof
