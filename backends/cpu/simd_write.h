// Rows written in the format their reader wants (Kernel::writes) instead of f32: a stretch of values is computed as for an
// f32 output and encoded while it is in L1, so that a row is neither stored nor read again, and the Convert step behind the
// op is gone. Not 32 values at a time: the prefetcher follows few streams, and swiglu reads two inputs of sixteen rows for a
// tile (measured then: 8.0 ms where 256 at a time take 2.9). The encoder is one of encode_avx2.h, encode_avx512.h:
//
//   struct Encoder {
//     static void groups(const float* x, int64_t n, int8_t* q, float* d, float* sum);     // n groups of 16, quant/q8_g16.h
//     static void round(const float* x, std::byte* out);                                  // 32 values to bf16
//     static void columns(const std::byte* rows, int64_t stride, std::byte* tile);        // 16 rows of 32 bf16 to a tile, quant/bf16_t16.h
//   };
#pragma once
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "core/tensor.h"

namespace kerf::cpu {
#ifndef KERF_ISA
#define KERF_ISA base
#endif
inline namespace KERF_ISA {

/// Values that every format's blocks divide.
constexpr int64_t kWriteBlock = 32;
/// Values of a row that are computed before they are encoded as tiles: a multiple of the block.
constexpr int64_t kWriteChunk = 256;
/// And as q8_g16, where one row is in work instead of sixteen. The encoder begins with a reduction of what was just computed,
/// for which the last exponentials must be done: a gap per chunk (with 256, swiglu took 8 % longer).
constexpr int64_t kRowChunk = 4 * kWriteChunk;
/// Rows of a bf16_t16 tile.
constexpr int64_t kStripRows = 16;

/// Columns [begin, end) of row t as q8_g16, both multiples of 32. values(k, n, x): x[0..n) = columns k ...
template <class Encoder, class Values>
void write_q8_g16(const TensorView& out, int64_t t, int64_t begin, int64_t end, const Values& values) {
  const int64_t K = out.desc.cols();
  auto* q = out.row<int8_t>(t);
  auto* d = reinterpret_cast<float*>(q + K);
  float* sum = d + K / 16;
  for (int64_t k = begin; k < end; k += kRowChunk) {
    const int64_t n = end - k < kRowChunk ? end - k : kRowChunk;
    alignas(64) float x[kRowChunk];
    values(k, n, x);
    Encoder::groups(x, n / 16, q + k, d + k / 16, sum + k / 16);
  }
}

inline int64_t strips_of(const TensorDesc& d) { return (d.rows() + kStripRows - 1) / kStripRows; }

/// The tiles of rows 16 strip ... and columns [begin, end) as bf16_t16, both multiples of 32; rows behind the last are zeros.
/// values(t, k, n, x): x[0..n) = columns k ... of row t.
template <class Encoder, class Values>
void write_tiles(const TensorView& out, int64_t strip, int64_t begin, int64_t end, const Values& values) {
  constexpr int64_t kStride = kWriteChunk * 2;
  alignas(64) std::byte rows[kStripRows * kStride];
  const int64_t first = strip * kStripRows, all = out.desc.rows() - first, T = all < kStripRows ? all : kStripRows;
  std::memset(rows + T * kStride, 0, static_cast<size_t>((kStripRows - T) * kStride));
  for (int64_t k = begin; k < end; k += kWriteChunk) {
    const int64_t n = end - k < kWriteChunk ? end - k : kWriteChunk;
    for (int64_t t = 0; t < T; ++t) {
      alignas(64) float x[kWriteChunk];
      values(first + t, k, n, x);
      for (int64_t i = 0; i < n; i += kWriteBlock) Encoder::round(x + i, rows + t * kStride + 2 * i);
    }
    for (int64_t i = 0; i < n; i += kWriteBlock)
      Encoder::columns(rows + 2 * i, kStride, out.as<std::byte>() + (strip * out.desc.cols() + k + i) * kStripRows * 2);
  }
}

}  // namespace KERF_ISA
}  // namespace kerf::cpu
