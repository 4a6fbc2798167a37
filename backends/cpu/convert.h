// f32 -> q8_g16, and weights -> sixteen rows interleaved, over the pool: what the rungs of these conversions share. Compiled
// without vector flags (see simd_rung.h).
#pragma once
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "core/kernel.h"

namespace kerf::cpu {

/// Encodes one row of K values (quant/q8_g16.h).
using EncodeRowFn = void (*)(const float* x, int64_t K, void* row);

void run_encode(const Call& call, EncodeRowFn encode);
Support accepts_encode(const Problem& p);

/// Encodes a tile (quant/bf16_t16.h): 32 values of `rows` <= 16 rows that are `stride` values apart, and zeros for the others.
using EncodeTileFn = void (*)(const float* x, int64_t stride, int rows, std::byte* tile);

void run_encode_tiles(const Call& call, EncodeTileFn encode);
Support accepts_encode_tiles(const Problem& p);

/// Encodes a group of sixteen rows (quant/q15_t16.h): n values of `rows` <= 16 rows that are `stride` values apart, and zeros for
/// the others, to tiles and to steps[n/64][16].
using EncodeGroupFn = void (*)(const float* x, int64_t stride, int rows, int64_t n, std::byte* tiles, float* steps);

void run_encode_groups(const Call& call, EncodeGroupFn encode);
Support accepts_encode_groups(const Problem& p);

struct InterleaveArgs {
  const std::byte* rows;  // [N, blocks] of a format that has an interleaved form
  std::byte* tiles;       // quant/interleaved.h
  int64_t N, blocks;
};
/// Writes one tile; rows past N are zero blocks.
using InterleaveTileFn = void (*)(const InterleaveArgs& a, int64_t tile);

void run_interleave(const Call& call, InterleaveTileFn tile);
Support accepts_interleave(const Problem& p);

}  // namespace kerf::cpu
