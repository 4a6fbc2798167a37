// Which lane of a wave holds which element of a tile, for the two matrix units that are emulated, and the product computed from
// what the lanes hold. A is 16 rows by k, B is 16 columns by k (each column's k values beside each other, as a row of a weight),
// C and D are 16 x 16. k is 16 for 16-bit elements and 32 for 8-bit ones.
//
//   ptx    32 lanes. NVIDIA, PTX ISA 8.5, 9.7.14 "mma.m16n8k16" and "mma.m16n8k32", two side by side: columns 0-7 and 8-15.
//   mfma   64 lanes. AMD, CDNA2 ISA, V_MFMA_F32_16X16X16F16 and V_MFMA_I32_16X16X16I8 (two of those for k = 32); lane l has row
//          or column l % 16 of A or B and four consecutive k from 4 * (l / 16); of D it has column l % 16.
#pragma once
#include <cstdint>
#include <cstring>
#include <type_traits>

#include "core/half.h"

namespace kerf::simt {

struct At {
  int row, col;  // for A and B: row or column of C, and k
};

// Of C: consecutive lanes that hold parts of the same rows, and the first of a lane's elements in the row of element e.

struct Ptx {
  static constexpr int lanes = 32;
  static constexpr At a16(int lane, int e) { return {lane / 4 + (e / 2 % 2) * 8, lane % 4 * 2 + e % 2 + (e / 4) * 8}; }
  static constexpr At b16(int lane, int e) { return {lane / 4 + (e / 4) * 8, lane % 4 * 2 + e % 2 + (e / 2 % 2) * 8}; }
  static constexpr At a8(int lane, int e) { return {lane / 4 + (e / 4 % 2) * 8, lane % 4 * 4 + e % 4 + (e / 8) * 16}; }
  static constexpr At b8(int lane, int e) { return {lane / 4 + (e / 8) * 8, lane % 4 * 4 + e % 4 + (e / 4 % 2) * 16}; }
  static constexpr int row_lanes = 4;
  static constexpr int first_in_row(int e) { return e / 2 % 2 * 2; }
  static constexpr At c(int lane, int e) { return {lane / 4 + (e / 2 % 2) * 8, lane % 4 * 2 + e % 2 + (e / 4) * 8}; }
};

struct Mfma {
  static constexpr int lanes = 64;
  static constexpr At a16(int lane, int e) { return {lane % 16, lane / 16 * 4 + e}; }
  static constexpr At b16(int lane, int e) { return a16(lane, e); }
  static constexpr At a8(int lane, int e) { return {lane % 16, e / 4 * 16 + lane / 16 * 4 + e % 4}; }
  static constexpr At b8(int lane, int e) { return a8(lane, e); }
  static constexpr int row_lanes = 16;
  static constexpr int first_in_row(int e) { return e; }
  static constexpr At c(int lane, int e) { return {lane / 16 * 4 + e, lane % 16}; }
};

/// What one lane holds. T: uint16_t (the bits of f16 or bf16) or int8_t; Sum: float or int32_t.
template <class Layout, class T>
struct Operand {
  static constexpr int k = 32 / static_cast<int>(sizeof(T));
  static constexpr int n = 16 * k / Layout::lanes;
  T e[n];
};
template <class Layout, class Sum>
struct Result {
  static constexpr int n = 256 / Layout::lanes;
  Sum e[n];
};

template <class Layout, class T>
constexpr At at_a(int lane, int e) {
  if constexpr (sizeof(T) == 2)
    return Layout::a16(lane, e);
  else
    return Layout::a8(lane, e);
}
template <class Layout, class T>
constexpr At at_b(int lane, int e) {
  if constexpr (sizeof(T) == 2)
    return Layout::b16(lane, e);
  else
    return Layout::b8(lane, e);
}

struct HalfBits {
  static float value(uint16_t bits) { return half_to_float(bits); }
};
struct Bf16Bits {
  static float value(uint16_t bits) { return bf16_to_float(bits); }
};
struct Integer {
  static int32_t value(int8_t x) { return x; }
};

/// What the lanes of a wave bring to c += a b^T.
template <class Layout, class T, class Sum>
struct Product {
  Result<Layout, Sum>* c;
  const Operand<Layout, T>*a, *b;
};

/// Sums in the order of k, each product exact; tensor cores sum in an order and width of their own, which exact data does not show.
template <class Layout, class T, class Sum, class Value>
void multiply(void* const* lanes, unsigned) {
  constexpr int K = Operand<Layout, T>::k;
  Sum a[16][K], b[16][K], c[16][16];
  const auto lane = [&](int l) -> const Product<Layout, T, Sum>& { return *static_cast<const Product<Layout, T, Sum>*>(lanes[l]); };
  for (int l = 0; l < Layout::lanes; ++l) {
    for (int e = 0; e < Operand<Layout, T>::n; ++e) {
      const At i = at_a<Layout, T>(l, e), j = at_b<Layout, T>(l, e);
      a[i.row][i.col] = Value::value(lane(l).a->e[e]);
      b[j.row][j.col] = Value::value(lane(l).b->e[e]);
    }
    for (int e = 0; e < Result<Layout, Sum>::n; ++e) c[Layout::c(l, e).row][Layout::c(l, e).col] = lane(l).c->e[e];
  }
  for (auto& row : c) {
    const auto& x = a[&row - c];
    for (int j = 0; j < 16; ++j)
      for (int k = 0; k < K; ++k) row[j] += x[k] * b[j][k];
  }
  for (int l = 0; l < Layout::lanes; ++l)
    for (int e = 0; e < Result<Layout, Sum>::n; ++e) lane(l).c->e[e] = c[Layout::c(l, e).row][Layout::c(l, e).col];
}

}  // namespace kerf::simt
