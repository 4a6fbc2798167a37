// One panel of weights: unpacking it from rows or from sixteen interleaved rows, and multiplying it with a block of tokens.
#pragma once
#include "backends/cpu/amx_matmul.h"
#include "backends/cpu/amx_tiles.h"
#include "backends/cpu/amx_unpack.h"
#include "backends/cpu/transpose_rows.h"
#include "quant/interleaved.h"

namespace kerf::cpu {
inline namespace KERF_ISA {

static_assert(kAmxPanel == kPanelRows);
inline constexpr int64_t kStripValues = 256;  // a K-quant block or eight blocks of 32

inline void prefetch_l2(const std::byte* p, int64_t bytes) {
  for (int64_t i = 0; i < bytes; i += 64) _mm_prefetch(reinterpret_cast<const char*>(p + i), _MM_HINT_T1);
}

/// Weights as a file has them. fill() unpacks values [k0, k1) of the rows from row0 that there are, and asks for the
/// same part of the rows that come next, which the multiplication gives the time to arrive.
template <class F>
struct Rows {
  static void fill(const AmxArgs& a, int64_t row0, int64_t k0, int64_t k1, std::byte* panel) {
    const int64_t rows = a.N - row0 < kPanelRows ? a.N - row0 : kPanelRows;
    for (int64_t k = k0; k < k1; k += kStripValues)
      for (int64_t r = 0; r < rows; ++r) {
        const int64_t values = k1 - k < kStripValues ? k1 - k : kStripValues;
        const std::byte* from = a.w + (row0 + r) * a.row_bytes + row_bytes(F::dtype, k);
        prefetch_l2(from + kPanelRows * a.row_bytes, row_bytes(F::dtype, kStripValues));
        strip(reinterpret_cast<const typename F::Block*>(from), values, panel + (k - k0) / 32 * kPanelStep + r * 64);
      }
  }

  static void strip(const typename F::Block* block, int64_t values, std::byte* out) {
    constexpr int kValues = info(F::dtype).block_values;
    if constexpr (kValues == 1) {
      for (int64_t i = 0; i < values; i += 32) put(out, static_cast<int>(i / 32), bf16_of(block + i));
    } else {
      using I = quant::Interleaved<F>;
      for (int64_t i = 0; i < values; i += kValues, ++block, out += kValues / 32 * kPanelStep) {
        const auto* bytes = reinterpret_cast<const uint8_t*>(block);
        Unpack<F>::block(bytes + I::kWordsAt, I::kLoneHalf ? half_at(bytes + I::kHalfAt) : uint16_t{0}, out);
      }
    }
  }
};

/// Sixteen interleaved rows: a strip's words are put back into rows (in L1), then unpacked as above. That costs 0.02 cycles
/// per bit of a weight's code, less than unpacking in lanes that are rows: no look-up there, since each lane has its own scale.
template <class F>
struct InterleavedRows {
  using I = quant::Interleaved<F>;
  static constexpr int kValues = info(F::dtype).block_values, kStripWords = kStripValues / kValues * I::kWords;
  static constexpr int64_t kPitch = (4 * kStripWords + 63) / 64 * 64 + 64;

  static void fill(const AmxArgs& a, int64_t row0, int64_t k0, int64_t k1, std::byte* panel) {
    const int64_t blocks = a.K / kValues, tile_bytes = I::tile_bytes(blocks);
    alignas(64) std::byte rows[16 * kPitch];
    for (int64_t k = k0; k < k1; k += kStripValues)
      for (int64_t row = row0; row < row0 + kPanelRows && row < a.N; row += 16) {
        const std::byte* tile = a.w + row / 16 * tile_bytes;
        const int64_t first = k / kValues, n = (k1 - k < kStripValues ? k1 - k : kStripValues) / kValues;
        prefetch_l2(I::words(tile, first) + 2 * tile_bytes, n * I::kWords * 64);
        if constexpr (I::kLoneHalf) prefetch_l2(I::halves(tile, blocks, first) + 2 * tile_bytes, n * 32);
        to_rows(I::words(tile, first), static_cast<int>(n) * I::kWords, rows);
        for (int64_t r = 0; r < 16; ++r)
          for (int64_t b = 0; b < n; ++b) {
            const uint16_t half = I::kLoneHalf ? half_at(reinterpret_cast<const uint8_t*>(I::halves(tile, blocks, first + b)) + 2 * r) : uint16_t{0};
            const auto* words = reinterpret_cast<const uint8_t*>(rows + r * kPitch) + b * I::kWords * 4;
            Unpack<F>::block(words, half, panel + ((k - k0) + b * kValues) / 32 * kPanelStep + (row - row0 + r) * 64);
          }
      }
  }

  /// n words of sixteen rows, 64 bytes each, become rows. Groups of sixteen words; the last one may repeat some.
  static void to_rows(const std::byte* words, int n, std::byte* rows) {
    alignas(64) std::byte few[16 * 64];
    if (n < 16) {
      std::memcpy(few, words, static_cast<size_t>(n) * 64);
      words = few;
    }
    for (int w = 0; w < n; w += 16) {
      const int first = n < 16 ? 0 : w + 16 <= n ? w : n - 16;
      transpose_rows(words + 64 * first, 64, [&](int r, __m512i v) { _mm512_storeu_si512(rows + r * kPitch + 4 * first, v); });
    }
  }
};

/// Sums of 32 rows x 32 tokens (tiles 0-3) or x 16 (tiles 0 and 1). Tiles: rows 0-15 and 16-31 of the first tokens, then
/// of the others.
template <int Pairs>
void multiply(const std::byte* w, const std::byte* x, int64_t x_step, int64_t steps) {
  for (int64_t k = 0; k < steps; ++k, w += kPanelStep, x += kTileBytes) {
    tile_stream<4>(w);
    tile_stream<6>(x);
    tile_multiply_bf16<0, 4, 6>();
    tile_stream<5>(w + kTileBytes);
    tile_multiply_bf16<1, 5, 6>();
    if constexpr (Pairs == 2) {
      tile_stream<7>(x + x_step);
      tile_multiply_bf16<2, 4, 7>();
      tile_multiply_bf16<3, 5, 7>();
    }
  }
}

template <int Pairs>
void load_sums(const std::byte* from) {
  if (from == nullptr) {
    tile_zero<0>(), tile_zero<1>();
    if constexpr (Pairs == 2) tile_zero<2>(), tile_zero<3>();
  } else {
    tile_load<0>(from), tile_load<1>(from + kTileBytes);
    if constexpr (Pairs == 2) tile_load<2>(from + 2 * kTileBytes), tile_load<3>(from + 3 * kTileBytes);
  }
}

template <int Pairs>
void store_sums(std::byte* to) {
  tile_store<0>(to), tile_store<1>(to + kTileBytes);
  if constexpr (Pairs == 2) tile_store<2>(to + 2 * kTileBytes), tile_store<3>(to + 3 * kTileBytes);
}

/// Sums of rows n0.. and tokens t0.., both those that there are, to y.
inline void put_result(const AmxArgs& a, const std::byte* sums, int64_t n0, int64_t t0, int tiles) {
  for (int i = 0; i < tiles; ++i) {
    const int64_t n = n0 + i % 2 * 16, t = t0 + i / 2 * 16;
    if (n >= a.N || t >= a.T) continue;
    const auto present = static_cast<__mmask16>(a.N - n >= 16 ? 0xFFFF : (1 << (a.N - n)) - 1);
    transpose_rows(sums + i * kTileBytes, 64, [&](int c, __m512i v) {
      if (t + c < a.T) _mm512_mask_storeu_epi32(a.y + (t + c) * a.N + n, present, v);
    });
  }
}

template <int Pairs>
void multiply_tokens(const AmxArgs& a, const AmxBlock& block, int64_t panel, const std::byte* w, int64_t t) {
  alignas(64) std::byte sums[4 * kTileBytes];
  const int64_t pairs = (block.t1 - block.t0 + 31) / 32;
  std::byte* partial = a.partial + (panel * pairs + (t - block.t0) / 32) * 4 * kTileBytes;
  load_sums<Pairs>(block.k0 > 0 ? partial : nullptr);
  multiply<Pairs>(w, a.x + (t / 16 * (a.K / 32) + block.k0 / 32) * kTileBytes, a.K / 32 * kTileBytes, (block.k1 - block.k0) / 32);
  if (block.k1 < a.K) return store_sums<Pairs>(partial);
  store_sums<Pairs>(sums);
  put_result(a, sums, panel * kPanelRows, t, 2 * Pairs);
}

template <class Weights>
void amx_panels(const AmxArgs& a, const AmxBlock& block, int64_t first, int64_t last) {
  alignas(64) std::byte w[kAmxChunk / 32 * kPanelStep];
  const TileScope tiles;
  for (int64_t panel = first; panel < last; ++panel) {
    Weights::fill(a, panel * kPanelRows, block.k0, block.k1, w);
    int64_t t = block.t0;
    for (; t + 16 < block.t1; t += 32) multiply_tokens<2>(a, block, panel, w, t);
    if (t < block.t1) multiply_tokens<1>(a, block, panel, w, t);
  }
}

}  // namespace KERF_ISA
}  // namespace kerf::cpu
