// swiglu in vectors: exp is xsimd's (argument reduced to [-ln2/2, ln2/2], a polynomial, then a change of the exponent;
// Cody & Waite's scheme), within one or two units in the last place, for 8 or 16 values at a time.
#pragma once
#include "backends/cpu/simd_batch.h"
#include "backends/cpu/simd_loop.h"
#include "backends/cpu/simd_write.h"
#include "core/kernel.h"

namespace kerf::cpu {
inline namespace KERF_ISA {

/// Values one thread should have at least: an exponential and a division cost ten times what kSpanValues counts with.
constexpr int64_t kSwiGluSpan = kSpanValues / 8;

template <class B>
inline void silu_times(const float* gate, const float* up, float* out, int64_t n) {
  map2<B>(gate, up, out, n, [](const B& g, const B& u) { return g / (B(1.f) + xsimd::exp(-g)) * u; });
}

/// All values are one array. Spans are whole chunks, so that only the last can end within a vector.
template <class B>
void swiglu_f32(const Call& call) {
  const auto *gate = call.in[0].as<float>(), *up = call.in[1].as<float>();
  auto* out = call.out[0].as<float>();
  const int64_t n = call.in[0].desc.size(), chunks = (n + kWriteChunk - 1) / kWriteChunk;
  for_each_span(call.pool, chunks, kSwiGluSpan / kWriteChunk, [&](int64_t begin, int64_t end) {
    const int64_t first = begin * kWriteChunk, last = end == chunks ? n : end * kWriteChunk;
    silu_times<B>(gate + first, up + first, out + first, last - first);
  });
}

/// Rows are cut at chunks, so that the one row of a decoded token is shared between threads too.
template <class B, class Encoder>
void swiglu_q8_g16(const Call& call) {
  const TensorView &gate = call.in[0], &up = call.in[1], &out = call.out[0];
  const int64_t cols = out.desc.cols(), chunks = (cols + kWriteChunk - 1) / kWriteChunk;
  for_each_span(call.pool, out.desc.rows() * chunks, kSwiGluSpan / kWriteChunk, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end;) {
      const int64_t t = i / chunks, last = (t + 1) * chunks < end ? (t + 1) * chunks : end;
      const int64_t stop = (last - t * chunks) * kWriteChunk;
      const float *g = gate.row<float>(t), *u = up.row<float>(t);
      write_q8_g16<Encoder>(out, t, (i - t * chunks) * kWriteChunk, stop < cols ? stop : cols,
                            [&](int64_t k, int64_t n, float* y) { silu_times<B>(g + k, u + k, y, n); });
      i = last;
    }
  });
}

template <class B, class Encoder>
void swiglu_bf16_t16(const Call& call) {
  const TensorView &gate = call.in[0], &up = call.in[1], &out = call.out[0];
  const int64_t cols = out.desc.cols(), parts = (cols + kWriteChunk - 1) / kWriteChunk;
  const int64_t rows = out.desc.rows() < kStripRows ? out.desc.rows() : kStripRows, chunk = rows * kWriteChunk;
  for_each_span(call.pool, strips_of(out.desc) * parts, chunk < kSwiGluSpan ? kSwiGluSpan / chunk : 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const int64_t k = i % parts * kWriteChunk, next = k + kWriteChunk;
      write_tiles<Encoder>(out, i / parts, k, next < cols ? next : cols,
                           [&](int64_t t, int64_t c, int64_t n, float* y) { silu_times<B>(gate.row<float>(t) + c, up.row<float>(t) + c, y, n); });
    }
  });
}

template <class B, class Encoder>
void swiglu(const Problem&, const Call& call) {
  if (call.out[0].desc.dtype == DType::q8_g16) return swiglu_q8_g16<B, Encoder>(call);
  if (call.out[0].desc.dtype == DType::bf16_t16) return swiglu_bf16_t16<B, Encoder>(call);
  swiglu_f32<B>(call);
}

}  // namespace KERF_ISA
}  // namespace kerf::cpu
