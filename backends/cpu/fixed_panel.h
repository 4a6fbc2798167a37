// Panels of weights times a block of tokens in 15-bit numbers. Tile products and vector work alternate and do not mix: a
// store waits for all tile products before it, and a tile load whose address agrees with a waiting store's in the lower
// 12 bits waits for that.
#pragma once
#include "backends/cpu/amx_tiles.h"
#include "backends/cpu/fixed_matmul.h"
#include "backends/cpu/fixed_unpack.h"
#include "backends/cpu/transpose.h"

namespace kerf::cpu {
inline namespace KERF_ISA {

inline constexpr int64_t kFixedGroup = quant::Q15_T16::kGroup, kPairSums = 4 * 256;

/// Tiles 0-3 += products of 32 rows and 32 tokens (Pairs = 2) or 16 (tiles 0 and 1 alone) over `steps` times 64 bytes.
template <int Pairs, class LoadX>
void add_products(const std::byte* w, LoadX load_x, int64_t steps) {
  for (int64_t k = 0; k < steps; ++k, w += kFixedStep) {
    load_x.template operator()<6>(k, 0);
    tile_load<4>(w);
    tile_multiply_int8<0, 4, 6>();
    tile_load<5>(w + kTileBytes);
    tile_multiply_int8<1, 5, 6>();
    if constexpr (Pairs == 2) {
      load_x.template operator()<7>(k, 1);
      tile_multiply_int8<2, 4, 7>();
      tile_multiply_int8<3, 5, 7>();
    }
  }
}

template <int Pairs>
void zero_tiles() {
  tile_zero<0>(), tile_zero<1>();
  if constexpr (Pairs == 2) tile_zero<2>(), tile_zero<3>();
}
template <int Pairs>
void store_tiles(std::byte* to) {
  tile_store<0>(to), tile_store<1>(to + kTileBytes);
  if constexpr (Pairs == 2) tile_store<2>(to + 2 * kTileBytes), tile_store<3>(to + 3 * kTileBytes);
}

template <class F>
class FixedPanels {
 public:
  FixedPanels(const FixedArgs& a, const FixedBlock& block) : a_(a), block_(block) {}

  void run(int64_t first, int64_t last) {
    const TileScope tiles;
    for (int64_t panel = first; panel < last; ++panel) {
      unpack(panel * kFixedPanel);
      const int64_t pairs = (block_.t1 - block_.t0 + 31) / 32;
      float* sums = a_.sums ? a_.sums + panel * pairs * kPairSums : sums_;
      for (int64_t k = block_.k0; k < block_.k1; k += kFixedGroup) {
        int64_t t = block_.t0;
        for (; t + 16 < block_.t1; t += 32) group<2>(k, t, sums + (t - block_.t0) / 32 * kPairSums);
        if (t < block_.t1) group<1>(k, t, sums + (t - block_.t0) / 32 * kPairSums);
      }
      if (block_.k1 == a_.K)
        for (int64_t t = block_.t0; t < block_.t1; t += 16) write(panel * kFixedPanel, t, sums + (t - block_.t0) / 16 * 2 * 256);
    }
    if (a_.stream) _mm_sfence();
  }

 private:
  /// Rows of the panel that the matrix lacks stay as they are: a tile's row affects one row of sums only.
  void unpack(int64_t row0) {
    using Block = typename F::Block;
    const int64_t rows = a_.N - row0 < kFixedPanel ? a_.N - row0 : kFixedPanel, ahead = kFixedPanel * a_.row_bytes;
    for (int64_t k = block_.k0; k < block_.k1; k += kFixedGroup) {
      const int64_t n = group_values(k);
      std::byte* out = panel_ + (k - block_.k0) / 64 * kFixedStep;
      for (int64_t r = 0; r < rows; ++r) {
        const std::byte* from = a_.w + (row0 + r) * a_.row_bytes + k * static_cast<int64_t>(sizeof(Block));
        for (int64_t i = 0; i < n * static_cast<int64_t>(sizeof(Block)); i += 64)
          _mm_prefetch(reinterpret_cast<const char*>(from + ahead + i), _MM_HINT_T1);
        // A unit of the sums of a group is 128 steps of the product.
        steps_[(k - block_.k0) / kFixedGroup * kFixedPanel + r] = 128 * fixed_group(reinterpret_cast<const Block*>(from), n, out + r * 64);
      }
    }
  }

  int64_t group_values(int64_t k) const { return block_.k1 - k < kFixedGroup ? block_.k1 - k : kFixedGroup; }

  /// The products of the group of values at k with the tokens at t.
  template <int Pairs>
  void group(int64_t k, int64_t t, float* sums) {
    const int64_t strip = quant::Q15_T16::strip_bytes(a_.K), n = group_values(k) / 64;
    const std::byte *w = panel_ + (k - block_.k0) / 64 * kFixedStep, *x = a_.x + quant::Q15_T16::code_at(t, k, a_.K);
    zero_tiles<Pairs>();
    add_products<Pairs>(
        w, [=]<int T>(int64_t step, int64_t pair) { tile_stream<T>(x + pair * strip + step * 2 * kTileBytes); }, n);
    store_tiles<Pairs>(high_);
    zero_tiles<Pairs>();
    add_products<Pairs>(
        w + kFixedPlane, [=]<int T>(int64_t step, int64_t pair) { tile_stream<T>(x + pair * strip + step * 2 * kTileBytes); }, n);
    add_products<Pairs>(
        w, [=]<int T>(int64_t step, int64_t pair) { tile_stream<T>(x + pair * strip + step * 2 * kTileBytes + kTileBytes); }, n);
    store_tiles<Pairs>(middle_);
    const float* steps = steps_ + (k - block_.k0) / kFixedGroup * kFixedPanel;
    for (int64_t pair = 0; pair < Pairs; ++pair) {
      const __m512 x_steps = _mm512_loadu_ps(a_.x + pair * strip + quant::Q15_T16::step_at(t, k, a_.K));
      for (int tile = 0; tile < 2; ++tile) {
        const int64_t at = (2 * pair + tile) * 256;
        if (k == 0)
          add_sums<true>(at, steps + 16 * tile, x_steps, sums);
        else
          add_sums<false>(at, steps + 16 * tile, x_steps, sums);
      }
    }
  }

  /// hi hi' 2^14 + (hi lo' + lo hi') 2^7 in units of 2^7: below 512 (127^2 2^7 + 2 127 64) < 2^30.
  template <bool First>
  void add_sums(int64_t at, const float* steps, __m512 x_steps, float* sums) const {
    for (int r = 0; r < 16; ++r) {
      const __m512i high = _mm512_load_si512(high_ + 4 * at + 64 * r), middle = _mm512_load_si512(middle_ + 4 * at + 64 * r);
      const __m512 sum = _mm512_cvtepi32_ps(_mm512_add_epi32(_mm512_slli_epi32(high, 7), middle));
      const __m512 scaled = _mm512_mul_ps(sum, _mm512_set1_ps(steps[r]));
      float* to = sums + at + 16 * r;
      _mm512_store_ps(to, First ? _mm512_mul_ps(scaled, x_steps) : _mm512_fmadd_ps(scaled, x_steps, _mm512_load_ps(to)));
    }
  }

  /// The sums of 32 rows and 16 tokens, two tiles, to y.
  void write(int64_t row0, int64_t t, const float* sums) const {
    for (int tile = 0; tile < 2; ++tile) {
      const int64_t row = row0 + 16 * tile;
      if (row >= a_.N) return;
      const auto present = static_cast<__mmask16>(a_.N - row >= 16 ? 0xFFFF : (1 << (a_.N - row)) - 1);
      float* y = a_.y + t * a_.N + row;
      transpose_rows(reinterpret_cast<const std::byte*>(sums + 256 * tile), 64, [&](int c, __m512i v) {
        if (t + c >= a_.T) return;
        if (a_.stream)
          _mm512_stream_si512(reinterpret_cast<__m512i*>(y + c * a_.N), v);
        else
          _mm512_mask_storeu_epi32(y + c * a_.N, present, v);
      });
    }
  }

  const FixedArgs& a_;
  const FixedBlock& block_;
  alignas(64) std::byte high_[4 * kTileBytes], middle_[4 * kTileBytes];
  alignas(64) float steps_[kFixedChunk / kFixedGroup * kFixedPanel] = {};
  alignas(64) float sums_[kFixedTokens / 32 * kPairSums];
  alignas(64) std::byte panel_[kFixedChunk / 64 * kFixedStep];
};

template <class F>
void fixed_panels(const FixedArgs& a, const FixedBlock& block, int64_t first, int64_t last) {
  FixedPanels<F>(a, block).run(first, last);
}

}  // namespace KERF_ISA
}  // namespace kerf::cpu
