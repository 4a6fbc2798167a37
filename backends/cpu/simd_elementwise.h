// The frame of float ops whose value at a place needs the inputs at that place only, with an f32 output or, for the matmul
// behind them, q8_g16 or bf16_t16 (simd_write.h). An op says how a stretch of one row is computed:
//
//   values(t, k, n, y): y[0..n) = columns k ... of row t of the output
#pragma once
#include "backends/cpu/simd_loop.h"
#include "backends/cpu/simd_write.h"
#include "core/kernel.h"

namespace kerf::cpu {
inline namespace KERF_ISA {

/// Values one thread should have at least where each costs an exponential and a division: ten times what kSpanValues counts with.
constexpr int64_t kExponentialSpan = kSpanValues / 8;

/// f(t, first column, last column) for pieces of all rows. Rows are cut at chunks, so that the one row of a decoded token is
/// shared between threads too, and only the end of a row can be within a vector.
template <class F>
void for_each_piece(ThreadPool& pool, int64_t rows, int64_t cols, int64_t span, const F& f) {
  const int64_t chunks = (cols + kWriteChunk - 1) / kWriteChunk;
  for_each_span(pool, rows * chunks, span < kWriteChunk ? 1 : span / kWriteChunk, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end;) {
      const int64_t t = i / chunks, last = (t + 1) * chunks < end ? (t + 1) * chunks : end, stop = (last - t * chunks) * kWriteChunk;
      f(t, (i - t * chunks) * kWriteChunk, stop < cols ? stop : cols);
      i = last;
    }
  });
}

template <class Values>
void elementwise_f32(ThreadPool& pool, float* out, int64_t rows, int64_t cols, int64_t span, const Values& values) {
  for_each_piece(pool, rows, cols, span, [&](int64_t t, int64_t begin, int64_t end) { values(t, begin, end - begin, out + t * cols + begin); });
}

template <class Encoder, class Values>
void elementwise_q8_g16(ThreadPool& pool, const TensorView& out, int64_t span, const Values& values) {
  for_each_piece(pool, out.desc.rows(), out.desc.cols(), span, [&](int64_t t, int64_t begin, int64_t end) {
    write_q8_g16<Encoder>(out, t, begin, end, [&](int64_t k, int64_t n, float* y) { values(t, k, n, y); });
  });
}

template <class Encoder, class Values>
void elementwise_bf16_t16(ThreadPool& pool, const TensorView& out, int64_t span, const Values& values) {
  const int64_t cols = out.desc.cols(), parts = (cols + kWriteChunk - 1) / kWriteChunk;
  const int64_t rows = out.desc.rows() < kStripRows ? out.desc.rows() : kStripRows, chunk = rows * kWriteChunk;
  for_each_span(pool, strips_of(out.desc) * parts, chunk < span ? span / chunk : 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const int64_t k = i % parts * kWriteChunk, next = k + kWriteChunk;
      write_tiles<Encoder>(out, i / parts, k, next < cols ? next : cols, values);
    }
  });
}

/// @param span values one thread should have at least
/// @param one_array the inputs have the output's shape: for f32 all values are one row, whose end alone may be within a vector
template <class Encoder, class Values>
void elementwise(const Call& call, int64_t span, bool one_array, const Values& values) {
  const TensorView& out = call.out[0];
  if (out.desc.dtype == DType::q8_g16) return elementwise_q8_g16<Encoder>(call.pool, out, span, values);
  if (out.desc.dtype == DType::bf16_t16) return elementwise_bf16_t16<Encoder>(call.pool, out, span, values);
  const int64_t rows = one_array ? 1 : out.desc.rows();
  elementwise_f32(call.pool, out.as<float>(), rows, out.desc.size() / rows, span, values);
}

}  // namespace KERF_ISA
}  // namespace kerf::cpu
