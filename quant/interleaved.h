// Sixteen rows interleaved: the weights of a format F in the order in which a kernel whose lanes are rows reads them.
// Same bytes, same size, nothing is re-quantized. Sixteen consecutive rows are a tile, tiles follow one another, and rows
// that the last tile lacks are zero blocks. A block of F is a sequence of 32-bit words and, where its size is no multiple
// of 4, one lone f16 scale d (first or last in the block). The blocks of a tile are stored in order of b, as
//
//   word[w][r]       w < kWords, r < 16: word w of the block of row r          64 bytes are one word of sixteen rows
//
// and where there are lone scales, a few blocks at a time:
//
//   d[b][r]          b < kTogether                                             32 bytes are the scales of sixteen blocks
//   word[b][w][r]
//
// So a tile is one stream, which processors follow by themselves, and words begin at cache lines. What is left of a row after
// the last kTogether blocks has its scales behind the words, so that these do there too.
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

  /// Blocks whose lone scales stand together: those of 256 values, which kernels take at a time, or two blocks of that size.
  static constexpr int64_t kTogether = info(F::dtype).block_values < 256 ? 256 / info(F::dtype).block_values : 2;

  /// Bytes of a tile whose rows have `blocks` blocks.
  static constexpr int64_t tile_bytes(int64_t blocks) { return kTileRows * blocks * static_cast<int64_t>(sizeof(Block)); }
  /// Word 0 of block b of row 0; word w of row r lies 64 w + 4 r bytes further. Words of kTogether blocks follow one another.
  static const std::byte* words(const std::byte* tile, int64_t blocks, int64_t b) {
    if constexpr (!kLoneHalf) return tile + b * kWords * 64;
    const int64_t first = b / kTogether * kTogether, scales = blocks - first < kTogether ? 0 : 32 * kTogether;
    return tile + tile_bytes(first) + scales + (b - first) * kWords * 64;
  }
  /// The lone d of block b of row 0; those of the other rows follow, then those of block b + 1, if they stand together.
  static const std::byte* halves(const std::byte* tile, int64_t blocks, int64_t b) {
    const int64_t first = b / kTogether * kTogether, left = blocks - first, words = left < kTogether ? left * kWords * 64 : 0;
    return tile + tile_bytes(first) + words + (b - first) * 32;
  }

  /// Block b of row r of a tile, as the file has it.
  static Block block(const std::byte* tile, int64_t blocks, int64_t b, int r) {
    Block result;
    auto* to = reinterpret_cast<std::byte*>(&result);
    for (int w = 0; w < kWords; ++w) std::memcpy(to + kWordsAt + 4 * w, words(tile, blocks, b) + 64 * w + 4 * r, 4);
    if constexpr (kLoneHalf) std::memcpy(to + kHalfAt, halves(tile, blocks, b) + 2 * r, 2);
    return result;
  }

  /// Puts block b of row r into a tile.
  static void put(const Block& block, std::byte* tile, int64_t blocks, int64_t b, int r) {
    const auto* from = reinterpret_cast<const std::byte*>(&block);
    for (int w = 0; w < kWords; ++w) std::memcpy(const_cast<std::byte*>(words(tile, blocks, b)) + 64 * w + 4 * r, from + kWordsAt + 4 * w, 4);
    if constexpr (kLoneHalf) std::memcpy(const_cast<std::byte*>(halves(tile, blocks, b)) + 2 * r, from + kHalfAt, 2);
  }
};

}  // namespace KERF_ISA
}  // namespace kerf::quant
