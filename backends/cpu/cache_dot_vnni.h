// What one key and one value of a cache are to a few query rows, in registers, for every cache format.
//
//   scores   floats: one fma chain per (key, row) over vectors of 16 dimensions, sixteen keys' vectors then summed across
//            lanes together. Coded blocks: integer dot products (VNNI) of the codes with queries of 16 bits, whose two bytes
//            are two products: v = code, q = (256 high + low) step, so that q costs 2^-16 of the block's largest and no more.
//            Sixteen keys x 64 dimensions are transposed as 32-bit lanes, which makes the sums vertical.
//   values   floats, or codes: the weights of 64 keys, with the blocks' scales in them, become integers of 16 bits, and a
//            VNNI product takes two keys at once. A minimum, the same for all dimensions of a block, is summed once per block.
#pragma once
#include <immintrin.h>

#include <cstring>

#include "attention/spec.h"
#include "backends/cpu/lanes_avx512.h"
#include "quant/formats.h"

namespace kerf::cpu {
inline namespace KERF_ISA {

constexpr int64_t kMaxSplitHeadDim = 256, kMaxSplitRows = 8;

template <class F>
constexpr bool kCoded = info(F::dtype).block_values > 1;

/// Up to 8 query rows as both kinds of products want them.
struct Queries {
  alignas(64) float values[kMaxSplitRows][kMaxSplitHeadDim];              // scaled
  alignas(64) int8_t codes[kMaxSplitHeadDim / 64][kMaxSplitRows][2][64];  // high and low bytes, in the order of code_bytes()
  float step[kMaxSplitRows][kMaxSplitHeadDim / 32];                       // value = step * (256 high + low)
  float sum[kMaxSplitRows][kMaxSplitHeadDim / 32];                        // of a block's values
  int32_t offset[kMaxSplitRows][kMaxSplitHeadDim / 32];                   // -kOffset times the sum of a block's codes
};

/// 64 codes, of two neighbouring blocks, as bytes of 0 .. 255. Those of 4 and 5 bits come as their low and high nibbles lie:
/// values 0-15 of the first, of the second block, values 16-31 of the first, of the second.
template <class F>
__m512i code_bytes(const typename F::Block* first, const typename F::Block* second) {
  const auto* a = reinterpret_cast<const __m128i*>(first->qs);
  const auto* b = reinterpret_cast<const __m128i*>(second->qs);
  if constexpr (std::is_same_v<F, quant::Q8_0>) {
    const __m256i low = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(a)), high = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(b));
    return _mm512_xor_si512(_mm512_inserti64x4(_mm512_castsi256_si512(low), high, 1), _mm512_set1_epi8(-128));
  } else {
    const __m256i packed = _mm256_inserti128_si256(_mm256_castsi128_si256(_mm_loadu_si128(a)), _mm_loadu_si128(b), 1);
    const __m512i both = _mm512_inserti64x4(_mm512_castsi256_si512(packed), _mm256_srli_epi16(packed, 4), 1);
    const __m512i codes = _mm512_and_si512(both, _mm512_set1_epi8(15));
    if constexpr (requires { first->qh; }) {
      uint32_t x = 0, y = 0;
      std::memcpy(&x, first->qh, sizeof x);
      std::memcpy(&y, second->qh, sizeof y);
      const uint64_t low = (x & 0xFFFFu) | y << 16, high = x >> 16 | (y & 0xFFFF0000u);
      return _mm512_mask_add_epi8(codes, low | high << 32, codes, _mm512_set1_epi8(16));
    } else {
      return codes;
    }
  }
}
/// Where in code_bytes() the 16 values from `i` of the two blocks are.
template <class F>
constexpr int64_t byte_of_value(int64_t i) {
  return std::is_same_v<F, quant::Q8_0> ? i : i / 32 * 16 + i / 16 % 2 * 32;
}

/// Fills `q` from rows of hd floats (null: zeros).
template <class F>
void pack_queries(const float* const* rows, int64_t n, int64_t hd, float scale, Queries& q) {
  for (int64_t r = 0; r < n; ++r)
    for (int64_t d = 0; d < hd; ++d) q.values[r][d] = rows[r] == nullptr ? 0.f : rows[r][d] * scale;
  if constexpr (kCoded<F>) {
    std::memset(q.codes, 0, sizeof q.codes);
    for (int64_t r = 0; r < n; ++r) {
      alignas(64) int8_t bytes[2][kMaxSplitHeadDim];
      for (int64_t b = 0; b < hd / 32; ++b) {
        const __m512 x[2] = {_mm512_load_ps(q.values[r] + 32 * b), _mm512_load_ps(q.values[r] + 32 * b + 16)};
        const float most = _mm512_reduce_max_ps(_mm512_max_ps(_mm512_abs_ps(x[0]), _mm512_abs_ps(x[1])));
        const __m512 sum = _mm512_add_ps(x[0], x[1]);
        // 32639 = 127 * 257: the largest whose high and low bytes, both signed, stay within -127 .. 127.
        const __m512 inverse = _mm512_set1_ps(most > 0x1p-100f ? 32639 / most : 0);
        __m512i total = _mm512_setzero_si512();
        for (int half = 0; half < 2; ++half) {
          const __m512i whole = _mm512_cvtps_epi32(_mm512_mul_ps(x[half], inverse));
          const __m128i low = _mm512_cvtepi32_epi8(whole);
          const __m512i high = _mm512_srai_epi32(_mm512_sub_epi32(whole, _mm512_cvtepi8_epi32(low)), 8);
          _mm_store_si128(reinterpret_cast<__m128i*>(bytes[0] + 32 * b + 16 * half), _mm512_cvtepi32_epi8(high));
          _mm_store_si128(reinterpret_cast<__m128i*>(bytes[1] + 32 * b + 16 * half), low);
          total = _mm512_add_epi32(total, whole);
        }
        q.sum[r][b] = _mm512_reduce_add_ps(sum);
        const bool finite = std::fabs(_mm512_reduce_add_ps(_mm512_mul_ps(sum, _mm512_setzero_ps()))) == 0;  // else NaN
        q.step[r][b] = finite ? most / 32639 : std::numeric_limits<float>::quiet_NaN();
        q.offset[r][b] = finite ? -F::kOffset * _mm512_reduce_add_epi32(total) : 0;
      }
      for (int64_t i = 0; i < hd; i += 16)  // groups of 16 bytes; in an odd number of blocks the last half stays zeros
        for (int plane = 0; plane < 2; ++plane) std::memcpy(q.codes[i / 64][r][plane] + byte_of_value<F>(i % 64), bytes[plane] + i, 16);
    }
  }
}

struct Sum {
  static __m512 of(__m512 a, __m512 b) { return _mm512_add_ps(a, b); }
};
/// Of floats without sign, as bits: NaN is the largest.
struct Largest {
  static __m512 of(__m512 a, __m512 b) { return _mm512_castsi512_ps(_mm512_max_epi32(_mm512_castps_si512(a), _mm512_castps_si512(b))); }
};

/// Joins the lanes of each of sixteen vectors, which come one after the other in pairs: a stage is done as soon as its two
/// halves are there, between the multiplications of other vectors. After the last pair lane i has all lanes of vector i.
template <class Join>
class Across {
 public:
  /// Vectors 2i and 2i + 1.
  void put(int i, __m512 a, __m512 b) {
    __m512 v = Join::of(_mm512_unpacklo_ps(a, b), _mm512_unpackhi_ps(a, b));
    if (i % 2 == 0) return void(wait_[0] = v);
    const __m512d c = _mm512_castps_pd(wait_[0]), d = _mm512_castps_pd(v);
    v = Join::of(_mm512_castpd_ps(_mm512_unpacklo_pd(c, d)), _mm512_castpd_ps(_mm512_unpackhi_pd(c, d)));
    if (i % 4 == 1) return void(wait_[1] = v);
    v = halves(wait_[1], v);
    if (i == 3) return void(wait_[2] = v);
    wait_[2] = halves(wait_[2], v);
  }
  __m512 total() const { return wait_[2]; }

 private:
  static __m512 halves(__m512 a, __m512 b) { return Join::of(_mm512_shuffle_f32x4(a, b, 0x88), _mm512_shuffle_f32x4(a, b, 0xDD)); }
  __m512 wait_[3];
};

/// The first bytes of sixteen rows.
struct Sixteen {
  const std::byte* row[16];
};

/// The binary16 number at `offset` of each of 16 rows. Put together in registers: a load of what sixteen small stores have just
/// written waits until they have left the core, which was a quarter of the time of a q8_0 score.
inline __m512 halves_of(const Sixteen& rows, int64_t offset) {
  uint64_t four[4];
  for (int j = 0; j < 4; ++j) {
    uint16_t h[4];
    for (int i = 0; i < 4; ++i) std::memcpy(&h[i], rows.row[4 * j + i] + offset, sizeof h[i]);
    four[j] = h[0] | static_cast<uint64_t>(h[1]) << 16 | static_cast<uint64_t>(h[2]) << 32 | static_cast<uint64_t>(h[3]) << 48;
  }
  const auto pair = [&](int j) { return _mm_set_epi64x(static_cast<int64_t>(four[j + 1]), static_cast<int64_t>(four[j])); };
  return _mm512_cvtph_ps(_mm256_inserti128_si256(_mm256_castsi128_si256(pair(0)), pair(2), 1));
}

/// Sixteen values of a row.
template <class F>
__m512 numbers(const std::byte* row, int64_t sixteen) {
  if constexpr (std::is_same_v<F, quant::F32>) {
    return _mm512_loadu_ps(reinterpret_cast<const float*>(row) + 16 * sixteen);
  } else if constexpr (std::is_same_v<F, quant::F16>) {
    return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(row) + sixteen));
  } else {
    static_assert(std::is_same_v<F, quant::BF16>);
    const __m256i halves = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(row) + sixteen);
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(halves), 16));
  }
}

/// The 32 codes of a block in order, without the offset of unsigned ones.
template <class F>
__m256i block_codes(const typename F::Block* block) {
  if constexpr (std::is_same_v<F, quant::Q8_0>) {
    return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(block->qs));
  } else {
    const __m128i packed = _mm_loadu_si128(reinterpret_cast<const __m128i*>(block->qs));
    const __m256i both = _mm256_inserti128_si256(_mm256_castsi128_si256(packed), _mm_srli_epi16(packed, 4), 1);
    __m256i codes = _mm256_and_si256(both, _mm256_set1_epi8(15));
    if constexpr (requires { block->qh; }) {
      uint32_t high = 0;
      std::memcpy(&high, block->qh, sizeof high);
      codes = _mm256_mask_add_epi8(codes, high, codes, _mm256_set1_epi8(16));
    }
    return F::kOffset != 0 ? _mm256_sub_epi8(codes, _mm256_set1_epi8(static_cast<char>(F::kOffset))) : codes;
  }
}

/// The same block of two keys as pairs of 16 bits, a dimension in each lane: 0-7 and 16-23 first, then 8-15 and 24-31.
struct CodePairs {
  __m512i lanes[2];
};
template <class F>
CodePairs code_pairs(const std::byte* first, const std::byte* second, int64_t block) {
  using Block = typename F::Block;
  const __m256i a = block_codes<F>(reinterpret_cast<const Block*>(first) + block), b = block_codes<F>(reinterpret_cast<const Block*>(second) + block);
  return {{_mm512_cvtepi8_epi16(_mm256_unpacklo_epi8(a, b)), _mm512_cvtepi8_epi16(_mm256_unpackhi_epi8(a, b))}};
}

/// Scores of 16 keys and R query rows. `ahead(i)` is called once per key: prefetches.
template <class F, int R, class Ahead>
void score_sixteen(const Queries& q, int64_t hd, const Sixteen& keys, Ahead&& ahead, __m512* scores) {
  if constexpr (!kCoded<F>) {
    Across<Sum> sums[R];
    for (int i = 0; i < 16; i += 2) {
      ahead(i);
      ahead(i + 1);
      const std::byte *a = keys.row[i], *b = keys.row[i + 1];
      __m512 first[R], second[R];
      for (int r = 0; r < R; ++r) first[r] = second[r] = _mm512_setzero_ps();
      for (int64_t v = 0; v < hd / 16; ++v) {
        const __m512 x = numbers<F>(a, v), y = numbers<F>(b, v);
        for (int r = 0; r < R; ++r) {
          const __m512 query = _mm512_load_ps(q.values[r] + 16 * v);
          first[r] = _mm512_fmadd_ps(query, x, first[r]);
          second[r] = _mm512_fmadd_ps(query, y, second[r]);
        }
      }
      for (int r = 0; r < R; ++r) sums[r].put(i / 2, first[r], second[r]);
    }
    for (int r = 0; r < R; ++r) scores[r] = sums[r].total();
  } else {
    using Block = typename F::Block;
    for (int r = 0; r < R; ++r) scores[r] = _mm512_setzero_ps();
    for (int64_t two = 0; two < hd; two += 64) {
      const int64_t first = two / 32, second = std::min(first + 1, hd / 32 - 1);
      __m512 lanes[16];
      for (int i = 0; i < 16; ++i) {
        if (two == 0) ahead(i);
        const auto* row = reinterpret_cast<const Block*>(keys.row[i]);
        lanes[i] = _mm512_castsi512_ps(code_bytes<F>(row + first, row + second));
      }
      transpose16(lanes);
      for (int half = 0; half < (second == first ? 1 : 2); ++half) {
        const int64_t b = first + half;
        const int64_t block = b * static_cast<int64_t>(sizeof(Block));
        const __m512 d = halves_of(keys, block);  // every format has d first, and m behind it
        __m512 minimum{};
        if constexpr (F::kHasMin) minimum = halves_of(keys, block + 2);
        for (int r = 0; r < R; ++r) {
          __m512i high = _mm512_setzero_si512(), low = F::kOffset != 0 ? _mm512_set1_epi32(q.offset[r][b]) : high;
          for (int j = 0; j < 8; ++j) {
            const int lane = std::is_same_v<F, quant::Q8_0> ? 8 * half + j : j / 4 * 8 + 4 * half + j % 4;
            const __m512i codes = _mm512_castps_si512(lanes[lane]);
            int32_t h = 0, l = 0;
            std::memcpy(&h, q.codes[two / 64][r][0] + 4 * lane, sizeof h);
            std::memcpy(&l, q.codes[two / 64][r][1] + 4 * lane, sizeof l);
            high = _mm512_dpbusd_epi32(high, codes, _mm512_set1_epi32(h));
            low = _mm512_dpbusd_epi32(low, codes, _mm512_set1_epi32(l));
          }
          const __m512i sum = _mm512_add_epi32(_mm512_slli_epi32(high, 8), low);
          scores[r] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(sum), _mm512_mul_ps(d, _mm512_set1_ps(q.step[r][b])), scores[r]);
          if constexpr (F::kHasMin) scores[r] = _mm512_fmadd_ps(minimum, _mm512_set1_ps(q.sum[r][b]), scores[r]);
        }
      }
    }
  }
}

}  // namespace KERF_ISA
}  // namespace kerf::cpu
