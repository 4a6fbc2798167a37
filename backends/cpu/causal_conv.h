// The frame of all causal_conv kernels. A thread takes channels, not tokens: a state has what its channels will need of this
// batch, and must not be overwritten before they have read it. Channels go in parts of 256, so that a row's piece is 1 KiB: rows
// of a model are 32 KiB apart, where all pieces of one column fall into the same few sets of L1, and as many as a convolution
// needs at a time have to fit there.
#pragma once
#include <cstdint>
#include <cstring>

#include "backends/cpu/simd_loop.h"
#include "core/kernel.h"

namespace kerf::cpu {
inline namespace KERF_ISA {

/// Channels that are computed together, all of one output.
constexpr int64_t kConvChannels = 256;
/// The longest convolution. Known models have 4 taps.
constexpr int64_t kMostTaps = 8;

/// Rows that are asked for before they are needed.
constexpr int64_t kAhead = 1;

/// For each part, a Part(w, n, J) is made of the weights w [n,J] of its channels; then row(past, y), token by token, computes
/// y[0..n) from the rows past[0..J), oldest first.
/// @param span values one thread should have at least
template <class Part>
void causal_conv(const Call& call, int64_t span) {
  static constexpr float kZeros[kConvChannels] = {};
  const TensorView &x = call.in[0], &w = call.in[1], &state = call.out[3];
  const int64_t T = x.desc.rows(), C = x.desc.cols(), J = w.desc.cols(), keys = call.out[0].desc.cols();
  const bool fresh = call.in[3].as<const int32_t>()[0] == 0;
  const auto parts = [](int64_t channels) { return (channels + kConvChannels - 1) / kConvChannels; };
  const int64_t key_parts = parts(keys), values = T * kConvChannels;
  for_each_span(call.pool, 2 * key_parts + parts(C - 2 * keys), values < span ? span / values : 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const int64_t o = i < key_parts ? 0 : i < 2 * key_parts ? 1 : 2, column = (i - o * key_parts) * kConvChannels, c = o * keys + column;
      const TensorView& out = call.out[static_cast<size_t>(o)];
      const int64_t n = out.desc.cols() - column < kConvChannels ? out.desc.cols() - column : kConvChannels;
      const auto row = [&](int64_t r) -> const float* {  // of the state, and behind it the batch
        return r >= J - 1 ? x.row<float>(r - (J - 1)) + c : fresh ? kZeros : state.row<float>(r) + c;
      };
      const Part part(w.row<float>(c), n, J);
      for (int64_t t = 0; t < T; ++t) {
        if (t + kAhead < T)  // the next page of each: no stream that a prefetcher follows
          for (int64_t line = 0; line < n; line += 16) {
            __builtin_prefetch(x.row<float>(t + kAhead) + c + line, 0);
            __builtin_prefetch(out.row<float>(t + kAhead) + column + line, 1);
          }
        const float* past[kMostTaps];
        for (int64_t j = 0; j < J; ++j) past[j] = row(t + j);
        part.row(past, out.row<float>(t) + column);
      }
      for (int64_t j = 0; j < J - 1; ++j) std::memcpy(state.row<float>(j) + c, row(T + j), static_cast<size_t>(n) * sizeof(float));
    }
  });
}

}  // namespace KERF_ISA
}  // namespace kerf::cpu
