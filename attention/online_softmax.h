// The algebra under every attention kernel. Softmax over a set of scores needs two numbers per set, the largest score and
// the sum of exp(score - largest), and two disjoint sets merge into one: (State, merge, State{}) is a commutative monoid.
// So a row of scores may be cut anywhere and put together in any order; flash tiles, split-KV decoding and attention split
// over devices are all this one merge. The weighted sum of values travels with it, scaled by the same factors.
// Milakov & Gimelshein 2018 (online normaliser); Dao et al. 2022 (FlashAttention); Rabe & Staats 2021.
#pragma once
#include <cmath>
#include <limits>

namespace kerf::attention {
// One copy per instruction set, see core/half.h.
#ifndef KERF_ISA
#define KERF_ISA base
#endif
inline namespace KERF_ISA {

/// The empty set is {-inf, 0}. A set whose scores are all -inf (masked) stays at sum 0: it weighs nothing.
template <class T>
struct State {
  T max = -std::numeric_limits<T>::infinity();
  T sum = 0;
  bool empty() const { return max == -std::numeric_limits<T>::infinity() && sum == 0; }
};

/// exp(from - to), the factor for a sum taken against `from` when the maximum is `to` (from <= to). Two empty sets have
/// from = to = -inf, where the difference is NaN but the weight of nothing is 0. NaN scores stay NaN.
template <class T>
T rescale(T from, T to) {
  return from == -std::numeric_limits<T>::infinity() ? T(0) : std::exp(from - to);
}

/// What a merge does to the two weighted sums: out = out * a + other * b.
template <class T>
struct Merged {
  State<T> state;
  T a = 1, b = 1;
};

template <class T>
Merged<T> merge(const State<T>& x, const State<T>& y) {
  const T max = x.max < y.max ? y.max : x.max;
  const T a = rescale(x.max, max), b = rescale(y.max, max);
  return {{max, x.sum * a + y.sum * b}, a, b};
}

/// The set of one score.
template <class T>
State<T> single(T score) {
  return {score, score == -std::numeric_limits<T>::infinity() ? T(0) : T(1)};
}

}  // namespace KERF_ISA
}  // namespace kerf::attention
