// Sixteen rows interleaved: the weights of a format F in the order in which a kernel whose lanes are rows reads them.
// Same bytes, same size, nothing is re-quantized. Sixteen consecutive rows are a tile, tiles follow one another, and rows
// that the last tile lacks are zero blocks. A block of F is a sequence of 32-bit words and, where its size is no multiple
// of 4, one f16 scale d (first or last in the block). In a tile of rows with B blocks each:
//
//   word[b][w][r]    b < B, w < kWords, r < 16: word w of block b of row r     64 bytes are one word of sixteen rows
//   d[b][r]          only formats with a lone f16                              32 bytes are the scales of sixteen blocks
//
// Every format of GGUF with affine codes keeps four consecutive values in the corresponding bits of four consecutive bytes,
// so a lane that holds a word holds four consecutive values of its row: what vpdpbusd multiplies and adds.
#pragma once
#include <cstddef>
#include <cstring>

#include "core/tensor.h"
#include "quant/formats.h"

namespace kerf::quant {
inline namespace KERF_ISA {

inline constexpr int kTileRows = 16;

template <AffineFormat F>
struct Interleaved {
  using Block = typename F::Block;
  static constexpr DType dtype = *interleaved(F::dtype);
  static constexpr int kWords = sizeof(Block) / 4;
  static constexpr bool kLoneHalf = sizeof(Block) % 4 == 2;
  static constexpr size_t kHalfAt = kLoneHalf && offsetof(Block, d) == 0 ? 0 : 4 * kWords;
  static constexpr size_t kWordsAt = kLoneHalf && kHalfAt == 0 ? 2 : 0;

  /// Bytes of a tile whose rows have `blocks` blocks.
  static constexpr int64_t tile_bytes(int64_t blocks) { return kTileRows * blocks * static_cast<int64_t>(sizeof(Block)); }
  /// Word 0 of block b of row 0; word w of row r lies 64 w + 4 r bytes further.
  static const std::byte* words(const std::byte* tile, int64_t b) { return tile + b * kWords * 64; }
  /// The lone d of block b of row 0; those of the other rows follow.
  static const std::byte* halves(const std::byte* tile, int64_t blocks, int64_t b) { return tile + blocks * kWords * 64 + b * 32; }

  /// Block b of row r of a tile, as the file has it.
  static Block block(const std::byte* tile, int64_t blocks, int64_t b, int r) {
    Block result;
    auto* to = reinterpret_cast<std::byte*>(&result);
    for (int w = 0; w < kWords; ++w) std::memcpy(to + kWordsAt + 4 * w, words(tile, b) + 64 * w + 4 * r, 4);
    if constexpr (kLoneHalf) std::memcpy(to + kHalfAt, halves(tile, blocks, b) + 2 * r, 2);
    return result;
  }

  /// Puts block b of row r into a tile.
  static void put(const Block& block, std::byte* tile, int64_t blocks, int64_t b, int r) {
    const auto* from = reinterpret_cast<const std::byte*>(&block);
    for (int w = 0; w < kWords; ++w) std::memcpy(const_cast<std::byte*>(words(tile, b)) + 64 * w + 4 * r, from + kWordsAt + 4 * w, 4);
    if constexpr (kLoneHalf) std::memcpy(const_cast<std::byte*>(halves(tile, blocks, b)) + 2 * r, from + kHalfAt, 2);
  }
};

}  // namespace KERF_ISA
}  // namespace kerf::quant
