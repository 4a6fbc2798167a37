// Products of many rows on matrix units: what matmul and the products of experts share. Before them, one launch rounds the activations
// to sixteen bits:
//
//   quantized weights   f16, one part    weights are decoded to f16: both operands are off by up to 2^-11
//   f16                 f16, two parts   x = high + low, 22 bits, and two products; the weights are exact
//   bf16                bf16, two parts  16 bits of x; the weights are exact
//
// f16 ends at 65504. So rows of x are multiplied by a power of two that brings their largest value to 2^14, and sums are multiplied
// by its inverse. Decoded weights have no such scale: scales of all formats are f16 times small integers, so values are multiples of
// 2^-24 and lose nothing below; one above 65504 becomes infinite, and a sum that is not finite is computed again in f32.
#pragma once
#include <type_traits>

#include "backends/gpu/kernels/product.h"
#include "backends/gpu/kernels/unpack.h"

namespace kerf::KERF_GPU_NS::tile16 {

// A block computes 64, 32 or 16 tokens x 128 rows of w with four warps, or two waves of 64 lanes. K goes by in steps of 32; rows of 80
// bytes in shared memory keep the reads of eight of them apart.
constexpr int kMostTokens = 64, kRows = 128, kStep = 32, kStride = kStep + 8, kThreads = 128;

/// The 16 x 16 tiles of a block, and how its waves share them. Four waves: two by two over 64 tokens, so that a wave loads six operands
/// for eight products; side by side over the rows of w where there are fewer tokens, which leaves each wave work, and operands as few
/// as there can be: four for four products of 32 tokens, three for two of 16.
template <int tokens>
struct Waves {
  static constexpr int kAll = kThreads / kWave, kOverRows = tokens == kMostTokens ? 2 : kAll, kOverTokens = kAll / kOverRows;
  static constexpr int kTilesT = tokens / kOverTokens / 16, kTilesN = kRows / kOverRows / 16;  // of a wave
};

/// Tokens of a block's tile that waste few of its places on `tokens`. A sum's additions are in the same order in all of them.
constexpr int tile_for(int64_t tokens) { return tokens <= 16 ? 16 : tokens <= 32 ? 32 : kMostTokens; }
/// f(std::integral_constant<int, tile>{}).
template <class Fn>
void with_tile(int tile, Fn&& f) {
  if (tile == 16)
    f(std::integral_constant<int, 16>{});
  else if (tile == 32)
    f(std::integral_constant<int, 32>{});
  else
    f(std::integral_constant<int, kMostTokens>{});
}

struct Bits16 {
  KERF_DEVICE static uint16_t round(float x) { return to_half(x); }
  KERF_DEVICE static float value(uint16_t bits) { return from_half(bits); }
  KERF_DEVICE static void multiply(Sums& c, const Tile16& a, const Tile16& b) { mma_f16(c, a, b); }
  static constexpr bool kScaled = true;
};
struct BrainBits16 {
  KERF_DEVICE static uint16_t round(float x) { return float_to_bf16(x); }
  KERF_DEVICE static float value(uint16_t bits) { return bf16_to_float(bits); }
  KERF_DEVICE static void multiply(Sums& c, const Tile16& a, const Tile16& b) { mma_bf16(c, a, b); }
  static constexpr bool kScaled = false;
};
template <class F>
using BitsOf = std::conditional_t<F::dtype == DType::bf16, BrainBits16, Bits16>;
template <class F>
constexpr int kParts = quant::AffineFormat<F> ? 1 : 2;

struct TileArgs {
  Product p;
  uint16_t* rounded;  // [parts][padded T][padded K], zeros behind T and K
  float* back;        // [padded T]: what sums of the row are multiplied by
  int64_t padded_T, padded_K;
};

/// 2^(14 - exponent of the largest), as far as it and its inverse are normal; 1 for zeros and for what is not finite.
KERF_DEVICE float scale_of(float largest) {
  const int exponent = static_cast<int>(std::bit_cast<uint32_t>(largest) >> 23);
  if (exponent == 0 || exponent == 255) return 1;
  const int scale = 127 + 14 + 127 - exponent;
  return std::bit_cast<float>(static_cast<uint32_t>(scale < 1 ? 1 : scale > 253 ? 253 : scale) << 23);
}

KERF_DEVICE float block_max(float x, float* part) {
  x = warp_max(x);
  if (lane() == 0) part[warp()] = x;
  block_sync();
  for (int w = 0; w < kThreads / kLanes; ++w) x = larger(x, part[w]);
  return x;
}

/// Row t of the rounded activations, by the whole block, from a row of x; of zeros where x is null. `part` is shared memory for a
/// value a warp.
template <class Bits, int parts>
KERF_DEVICE void round_row(const TileArgs& a, int64_t t, const float* x, float* part) {
  const auto at = [&](int64_t k) { return x && k < a.p.K ? x[k] : 0.f; };
  float scale = 1;
  if constexpr (Bits::kScaled) {
    float largest = 0;
    for (int64_t k = thread_x(); k < a.p.K; k += kThreads) largest = larger(fabsf(at(k)), largest);
    scale = scale_of(block_max(largest, part));
  }
  if (thread_x() == 0) a.back[t] = 1 / scale;
  for (int64_t k = thread_x(); k < a.padded_K; k += kThreads) {
    float rest = at(k) * scale;
    KERF_UNROLL
    for (int i = 0; i < parts; ++i) {
      const uint16_t bits = Bits::round(rest);
      a.rounded[(i * a.padded_T + t) * a.padded_K + k] = bits;
      rest -= Bits::value(bits);
    }
  }
}

template <int parts, int tokens>
struct Stage {
  uint16_t x[parts][tokens][kStride];
  uint16_t w[kRows][kStride];
};

/// Two steps, or in the end the sums, whose rows are 8 banks apart: lanes hold pairs of eight rows.
constexpr int kSumStride = kRows + 8;
template <int parts, int tokens>
union Memory {
  Stage<parts, tokens> stage[2];
  float sums[tokens][kSumStride];
};

/// Rows of 32 values of the rounded activations, by asynchronous copies of sixteen bytes.
template <int parts, int tokens>
KERF_DEVICE void fetch_x(Stage<parts, tokens>& s, const TileArgs& a, int64_t t0, int64_t k0) {
  constexpr int kPieces = tokens * kStep / 8;
  KERF_UNROLL
  for (int part = 0; part < parts; ++part) {
    KERF_UNROLL
    for (int piece = 0; piece < (kPieces + kThreads - 1) / kThreads; ++piece) {
      const int i = static_cast<int>(thread_x()) + piece * kThreads;
      const int row = i / (kStep / 8), k = i % (kStep / 8) * 8;
      if (kPieces >= kThreads || i < kPieces) copy_async16(&s.x[part][row][k], a.rounded + (part * a.padded_T + t0 + row) * a.padded_K + k0 + k);
    }
  }
}

/// The weights of a step on their way into shared memory. Quantized: a thread has the two groups of sixteen of its row, in registers until
/// they are stored. Both halves of many formats are in the same bytes, which one thread loads once.
template <class F>
struct Fetch {
  static_assert(kRows == kThreads);
  static constexpr int kGroups = kStep / 16;
  Group g[kGroups];

  template <class S>
  KERF_DEVICE void begin(S&, const Product& p, int64_t n0, int64_t k0) {
    KERF_UNROLL
    for (int i = 0; i < kGroups; ++i) {
      const int64_t n = n0 + thread_x();
      g[i] = group_of_row<F>(p.w + (n < p.N ? n : p.N - 1) * p.w_bytes, k0 / 16 + i);
    }
  }
  template <class S>
  KERF_DEVICE void end(S& s) const {
    KERF_UNROLL
    for (int i = 0; i < kGroups; ++i) {
      auto* to = reinterpret_cast<Words4*>(&s.w[thread_x()][16 * i]);
      KERF_UNROLL
      for (int half = 0; half < 2; ++half) {
        Words4 bits;
        KERF_UNROLL
        for (int j = 0; j < 4; ++j) {
          const int v = 8 * half + 2 * j;
          bits.w[j] = to_half(value_of<F>(g[i], v)) | static_cast<uint32_t>(to_half(value_of<F>(g[i], v + 1))) << 16;
        }
        to[half] = bits;
      }
    }
  }
};
/// f16 and bf16 as they are: sixteen bytes at a time where rows and their end are at multiples of that, else one by one.
template <class F>
requires(!quant::AffineFormat<F>) struct Fetch<F> {
  template <class S>
  KERF_DEVICE void begin(S& s, const Product& p, int64_t n0, int64_t k0) {
    const bool whole = p.K % 8 == 0;
    KERF_UNROLL
    for (int piece = 0; piece < kRows * kStep / 8 / kThreads; ++piece) {
      const int i = static_cast<int>(thread_x()) + piece * kThreads;
      const int row = i / (kStep / 8), k = i % (kStep / 8) * 8;
      const int64_t n = n0 + row < p.N ? n0 + row : p.N - 1;
      const auto* from = reinterpret_cast<const uint16_t*>(p.w + n * p.w_bytes) + k0 + k;
      if (whole && k0 + k < p.K)
        copy_async16(&s.w[row][k], from);
      else
        for (int j = 0; j < 8; ++j) s.w[row][k + j] = k0 + k + j < p.K ? from[j] : uint16_t{0};
    }
  }
  template <class S>
  KERF_DEVICE void end(S&) const {}
};

/// What the step's shared memory adds to the wave's sums.
template <class F, int parts, int tokens>
KERF_DEVICE void multiply_step(Sums (&sums)[Waves<tokens>::kTilesT][Waves<tokens>::kTilesN], const Stage<parts, tokens>& s, int wave_t, int wave_n) {
  constexpr int kTilesT = Waves<tokens>::kTilesT, kTilesN = Waves<tokens>::kTilesN;
  KERF_UNROLL
  for (int k = 0; k < kStep; k += 16) {
    Tile16 w[kTilesN];
    KERF_UNROLL
    for (int n = 0; n < kTilesN; ++n) load_b(w[n], &s.w[(wave_n * kTilesN + n) * 16][k], kStride);
    KERF_UNROLL
    for (int t = 0; t < kTilesT; ++t) {
      KERF_UNROLL
      for (int part = 0; part < parts; ++part) {
        Tile16 x;
        load_a(x, &s.x[part][(wave_t * kTilesT + t) * 16][k], kStride);
        KERF_UNROLL
        for (int n = 0; n < kTilesN; ++n) BitsOf<F>::multiply(sums[t][n], x, w[n]);
      }
    }
  }
}

/// A sum in f32, value by value: for the few that sixteen bits can not hold.
template <class F>
KERF_DEVICE float dot_f32(const Product& p, int64_t t, int64_t n) {
  constexpr int kValues = info(F::dtype).block_values;
  const auto* x = reinterpret_cast<const float*>(p.x + t * p.x_bytes);
  const auto* w = reinterpret_cast<const typename F::Block*>(p.w + n * p.w_bytes);
  float sum = 0;
  for (int64_t k = 0; k < p.K; ++k) sum = fmaf(x[k], F::at(w[k / kValues], static_cast<int>(k % kValues)), sum);
  return sum;
}

/// A wave's sums to where write_tile reads them.
template <int tokens>
KERF_DEVICE void store_sums(float (&to)[tokens][kSumStride], const Sums (&sums)[Waves<tokens>::kTilesT][Waves<tokens>::kTilesN], int wave_t,
                            int wave_n) {
  constexpr int kTilesT = Waves<tokens>::kTilesT, kTilesN = Waves<tokens>::kTilesN;
  KERF_UNROLL
  for (int i = 0; i < kTilesT; ++i) {
    KERF_UNROLL
    for (int j = 0; j < kTilesN; ++j)
      for_each(sums[i][j],
               [&](int row, int column, float sum) { to[(wave_t * kTilesT + i) * 16 + row][(wave_n * kTilesN + j) * 16 + column] = sum; });
  }
}

/// Sums of `tokens` rows of the activations with 128 of the weights, in shared memory after a barrier.
template <class F, int tokens>
KERF_DEVICE void sum_tiles(const TileArgs& a, const Product& p, int64_t t0, int64_t n0, Memory<kParts<F>, tokens>& memory) {
  using W = Waves<tokens>;
  auto& stage = memory.stage;
  const int wave = static_cast<int>(thread_x()) / kWave, wave_n = wave % W::kOverRows, wave_t = wave / W::kOverRows;
  Sums sums[W::kTilesT][W::kTilesN] = {};
  Fetch<F> fetch;
  const auto begin = [&](int64_t k0) {
    auto& s = stage[k0 / kStep % 2];
    fetch_x(s, a, t0, k0);
    fetch.begin(s, p, n0, k0);
    copy_commit();
  };
  begin(0);
  fetch.end(stage[0]);
  for (int64_t k0 = 0; k0 < a.padded_K; k0 += kStep) {
    copy_wait<0>();
    block_sync();  // this step is there, and the one before is no longer read
    const bool more = k0 + kStep < a.padded_K;
    if (more) begin(k0 + kStep);
    multiply_step<F>(sums, stage[k0 / kStep % 2], wave_t, wave_n);
    if (more) fetch.end(stage[(k0 / kStep + 1) % 2]);
  }
  block_sync();
  store_sums<tokens>(memory.sums, sums, wave_t, wave_n);
}

/// Weights of one kind only, more tokens than the kernels for few take at a time.
template <class Fn>
Support takes_tiles(const Problem& p, Fn&& fits_type) {
  if (p.in[0].dtype != DType::f32) return {"reads f32 activations"};
  if (p.in[0].rows() <= 8) return {"for more than 8 tokens"};
  if (p.in[0].rows() > kMostTokens * 65535) return {"more tokens than a grid takes"};
  return require(all_weights(p, fits_type), "the weights are of another kind");
}

constexpr int64_t padded(int64_t n, int64_t multiple) { return (n + multiple - 1) / multiple * multiple; }

}  // namespace kerf::KERF_GPU_NS::tile16
