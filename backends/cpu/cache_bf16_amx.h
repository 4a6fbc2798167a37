// Keys and values of a chunk as bf16 tiles for AMX, from every cache format. A cache row is a whole number of blocks of 32
// values; each format gives one block as 32 bf16 in a register, rounded to nearest even from the exact product d * code (+ m).
// Formats of 4 and 5 bits have at most 32 different values per block: they are computed and rounded once, as a table, and
// vpermw looks up all 32 codes at a time.
//
//   keys    tile [16 keys][32 dimensions]: a row of the tile is a block as it comes (the first operand of S^T = K Q^T)
//   values  tile [16 dimensions][32 keys]: pairs of keys interleaved to 32-bit lanes, then 16 x 16 lanes transposed
//           (the first operand of O^T = V^T P^T): 64 shuffles for 512 values, shared by all query rows of the task
#pragma once
#include <immintrin.h>

#include "attention/spec.h"
#include "backends/cpu/amx_tiles.h"
#include "backends/cpu/transpose.h"
#include "quant/formats.h"

namespace kerf::cpu {
inline namespace KERF_ISA {

constexpr int64_t kTileRows16 = 16, kStep = 32;  // rows of a tile; keys or dimensions that one tile product sums over

inline __m512i bf16_of(__m512 low, __m512 high) { return reinterpret_cast<__m512i>(_mm512_cvtne2ps_pbh(high, low)); }

inline __m512 half_broadcast(const void* p) {
  uint16_t h = 0;
  __builtin_memcpy(&h, p, sizeof h);
  return _mm512_broadcastss_ps(_mm_cvtph_ps(_mm_cvtsi32_si128(h)));
}

/// bf16(x - bf16(x)) of 32 values: what rounding leaves, to 8 more bits.
inline __m512i bf16_rest(__m512 low, __m512 high) {
  const __m512i rounded = bf16_of(low, high);
  const __m512 low_part = _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm512_castsi512_si256(rounded)), 16));
  const __m512 high_part = _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm512_extracti64x4_epi64(rounded, 1)), 16));
  return bf16_of(_mm512_sub_ps(low, low_part), _mm512_sub_ps(high, high_part));
}

/// Formats whose values a sum of `Planes` bf16 terms is worth while for.
template <int Planes>
using TileFormats = std::conditional_t<Planes == 1, CacheFormats, quant::FormatList<quant::F32, quant::F16>>;

/// Block `b` of a row of format F as 32 bf16.
template <class F>
__m512i block_bf16(const std::byte* row, int64_t b) {
  const __m512 count = _mm512_setr_ps(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
  if constexpr (std::is_same_v<F, quant::F32>) {
    const auto* x = reinterpret_cast<const float*>(row) + 32 * b;
    return bf16_of(_mm512_loadu_ps(x), _mm512_loadu_ps(x + 16));
  } else if constexpr (std::is_same_v<F, quant::F16>) {
    const auto* x = reinterpret_cast<const __m256i*>(row + 64 * b);
    return bf16_of(_mm512_cvtph_ps(_mm256_loadu_si256(x)), _mm512_cvtph_ps(_mm256_loadu_si256(x + 1)));
  } else if constexpr (std::is_same_v<F, quant::BF16>) {
    return _mm512_loadu_si512(row + 64 * b);
  } else {
    const auto* block = reinterpret_cast<const typename F::Block*>(row) + b;
    const __m512 d = half_broadcast(&block->d);
    const auto* codes = reinterpret_cast<const __m128i*>(block->qs);
    if constexpr (std::is_same_v<F, quant::Q8_0>) {
      const __m512i low = _mm512_cvtepi8_epi32(_mm_loadu_si128(codes)), high = _mm512_cvtepi8_epi32(_mm_loadu_si128(codes + 1));
      return bf16_of(_mm512_mul_ps(d, _mm512_cvtepi32_ps(low)), _mm512_mul_ps(d, _mm512_cvtepi32_ps(high)));
    } else {
      const auto value = [&](float first) {  // of codes first .. first + 15
        const __m512 code = _mm512_add_ps(count, _mm512_set1_ps(first - static_cast<float>(F::kOffset)));
        if constexpr (F::kHasMin)
          return _mm512_fmadd_ps(d, code, half_broadcast(&block->m));
        else
          return _mm512_mul_ps(d, code);
      };
      const __m256i bytes = _mm256_cvtepu8_epi16(_mm_loadu_si128(codes));
      __m512i index = _mm512_inserti64x4(_mm512_castsi256_si512(bytes), _mm256_srli_epi16(bytes, 4), 1);
      if constexpr (requires { block->qh; }) {
        uint32_t high = 0;
        __builtin_memcpy(&high, block->qh, sizeof high);
        index = _mm512_and_si512(index, _mm512_set1_epi16(15));
        index = _mm512_mask_add_epi16(index, high, index, _mm512_set1_epi16(16));
        return _mm512_permutexvar_epi16(index, bf16_of(value(0), value(16)));
      } else {
        const __m512 low = value(0);
        return _mm512_permutexvar_epi16(index, bf16_of(low, low));  // the table twice: bit 4 of an index does not matter
      }
    }
  }
}

/// The same of the second plane: what block_bf16 leaves.
template <class F>
__m512i block_rest(const std::byte* row, int64_t b) {
  if constexpr (std::is_same_v<F, quant::F32>) {
    const auto* x = reinterpret_cast<const float*>(row) + 32 * b;
    return bf16_rest(_mm512_loadu_ps(x), _mm512_loadu_ps(x + 16));
  } else {
    static_assert(std::is_same_v<F, quant::F16>);
    const auto* x = reinterpret_cast<const __m256i*>(row + 64 * b);
    return bf16_rest(_mm512_cvtph_ps(_mm256_loadu_si256(x)), _mm512_cvtph_ps(_mm256_loadu_si256(x + 1)));
  }
}

template <class F, int Plane>
__m512i block_plane(const std::byte* row, int64_t b) {
  if constexpr (Plane == 0)
    return block_bf16<F>(row, b);
  else
    return block_rest<F>(row, b);
}

/// Keys of a chunk: tiles[key / 16][dimension / 32]. Keys are counted from the chunk's first; rows outside `seen` become zeros.
template <class F, int Plane>
void key_tiles(const std::byte* rows, int64_t row_bytes, attention::Range seen, int64_t hd, std::byte* tiles) {
  const int64_t steps = hd / kStep;
  for (int64_t s = seen.begin / kStep * kStep; s < (seen.end + kStep - 1) / kStep * kStep; ++s) {
    const bool there = seen.begin <= s && s < seen.end;
    std::byte* at = tiles + s / kTileRows16 * steps * kTileBytes + s % kTileRows16 * 64;
    for (int64_t i = 0; i < steps; ++i)
      _mm512_store_si512(at + i * kTileBytes, there ? block_plane<F, Plane>(rows + s * row_bytes, i) : _mm512_setzero_si512());
  }
}

/// Values of a chunk: tiles[dimension / 16][key / 32], `PerRow` tiles for each 16 dimensions.
template <class F, int Plane, int64_t PerRow>
void value_tiles(const std::byte* rows, int64_t row_bytes, attention::Range seen, int64_t hd, std::byte* tiles) {
  const __m512i none = _mm512_setzero_si512();
  for (int64_t s = seen.begin / kStep * kStep; s < seen.end; s += kStep)
    for (int64_t i = 0; i < hd / kStep; ++i) {
      __m512 half[2][16];  // dimensions 0-3, 8-11, ..; and 4-7, 12-15, ..: what unpacking within 128 bits leaves together
      for (int64_t pair = 0; pair < 16; ++pair) {
        const auto row = [&](int64_t key) { return seen.begin <= key && key < seen.end ? block_plane<F, Plane>(rows + key * row_bytes, i) : none; };
        const __m512i even = row(s + 2 * pair), odd = row(s + 2 * pair + 1);
        half[0][pair] = _mm512_castsi512_ps(_mm512_unpacklo_epi16(even, odd));
        half[1][pair] = _mm512_castsi512_ps(_mm512_unpackhi_epi16(even, odd));
      }
      for (int64_t h = 0; h < 2; ++h) {
        transpose16(half[h]);
        for (int64_t lane = 0; lane < 16; ++lane) {
          const int64_t d = i * kStep + lane / 4 * 8 + lane % 4 + 4 * h;
          _mm512_store_ps(tiles + ((d / 16) * PerRow + s / kStep) * kTileBytes + d % 16 * 64, half[h][lane]);
        }
      }
    }
}

}  // namespace KERF_ISA
}  // namespace kerf::cpu
