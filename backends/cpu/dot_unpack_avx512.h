// A strip of 256 weights of each format as 4 registers of unsigned codes in natural order, with the scale and minimum of
// group g in lane g. One specialisation per format; layouts are drawn in quant/<format>.h.
#pragma once
#include <immintrin.h>

#include <array>

#include "backends/cpu/dot_strips.h"

namespace kerf::cpu {
inline namespace KERF_ISA {

struct Strip512 {
  __m512i code[4];
  __m512 scale, min;  // min only where the format has one
};

/// Byte vectors with one value in the lower and one in the upper 32 bytes: 64 values are two sub-blocks of 32.
inline __m512i halves(int lower, int upper) {
  return _mm512_inserti64x4(_mm512_set1_epi8(static_cast<char>(lower)), _mm256_set1_epi8(static_cast<char>(upper)), 1);
}
/// Counts for a variable shift of 64-bit lanes. Bits that cross into a neighbouring byte are masked off by the caller.
inline __m512i shifts(int lower, int upper) { return _mm512_inserti64x4(_mm512_set1_epi64(lower), _mm256_set1_epi64x(upper), 1); }
/// 32 bytes of memory in both halves.
inline __m512i twice(const uint8_t* p) { return _mm512_broadcast_i64x4(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p))); }
inline __m512 lanes16(const int8_t* p) { return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)))); }
inline __m512 half16(uint16_t h) { return _mm512_set1_ps(_cvtsh_ss(h)); }

/// 32-bit words, one at the start of each of N <= 8 blocks, and zeros.
template <int N, class Block>
__m256i block_words(const Block* b) {
  constexpr int kBytes = sizeof(Block);
  const __m256i offsets = _mm256_mullo_epi32(_mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7), _mm256_set1_epi32(kBytes));
  if (N == 8) return _mm256_i32gather_epi32(reinterpret_cast<const int*>(b), offsets, 1);
  const auto present = static_cast<__mmask8>((1u << N) - 1);
  return _mm256_mmask_i32gather_epi32(_mm256_setzero_si256(), present, offsets, b, 1);
}
/// The low halves of eight words as f16, each in the two lanes of its block of 32.
inline __m512 block_halves(__m256i words) {
  const __m512 wide = _mm512_castps256_ps512(_mm256_cvtph_ps(_mm256_cvtepi32_epi16(words)));
  return _mm512_permutexvar_ps(_mm512_setr_epi32(0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7), wide);
}

/// d and m of block i, twice each, in 16-bit lanes 2i, 2i + 1 and 16 + 2i, 17 + 2i: two loads that hold four words each and
/// a permutation are half the instructions of a gather, narrowing and doubling.
template <class Block>
__m512i block_pairs(const Block* b) {
  constexpr int kHalves = sizeof(Block) / 2;
  static_assert(6 * kHalves + 4 <= 64);
  alignas(64) constexpr auto kIndex = [] {
    std::array<uint16_t, 32> index{};
    for (int i = 0; i < 32; ++i) index[i] = static_cast<uint16_t>(kHalves * (i / 2 % 4) + i / 16 + (i / 8 % 2) * 32);
    return index;
  }();
  return _mm512_permutex2var_epi16(_mm512_loadu_si512(b), _mm512_load_si512(kIndex.data()), _mm512_loadu_si512(b + 4));
}

/// f16 d and m at the start of each of N blocks.
template <int N, class Block>
void scales_and_mins(Strip512& s, const Block* b) {
  __m512 m;
  if constexpr (N == 8 && 3 * sizeof(Block) + 4 <= 64) {
    const __m512i pairs = block_pairs(b);
    s.scale = _mm512_cvtph_ps(_mm512_castsi512_si256(pairs));
    m = _mm512_cvtph_ps(_mm512_extracti64x4_epi64(pairs, 1));
  } else {
    const __m256i words = block_words<N>(b);
    s.scale = block_halves(words);
    m = block_halves(_mm256_srli_epi32(words, 16));
  }
  s.min = _mm512_sub_ps(_mm512_setzero_ps(), m);
}

/// codes(a, b) for the pairs of N blocks. A last block without a partner is its own: its second half meets a zero scale.
template <int N, class Block, class Codes>
void pairs_of_blocks(__m512i (&code)[4], const Block* b, Codes codes) {
  for (int c = 0; c < 4; ++c) code[c] = 2 * c < N ? codes(b[2 * c], b[2 * c + 1 < N ? 2 * c + 1 : 2 * c]) : _mm512_setzero_si512();
}

/// Nibbles of two neighbouring blocks of 32: [low A, high A, low B, high B], 16 codes each.
inline __m512i nibble_blocks(const uint8_t* a, const uint8_t* b) {
  const __m128i low = _mm_loadu_si128(reinterpret_cast<const __m128i*>(a)), high = _mm_loadu_si128(reinterpret_cast<const __m128i*>(b));
  const __m512i both = _mm512_mask_broadcast_i64x2(_mm512_broadcast_i64x2(low), 0xF0, high);  // a blend with memory: no shuffle
  return _mm512_and_si512(_mm512_srlv_epi64(both, _mm512_setr_epi64(0, 0, 4, 4, 0, 0, 4, 4)), _mm512_set1_epi8(15));
}
/// The codes of IQ4_NL's levels that 64 indices mean.
inline __m512i level_codes(__m512i indices) {
  return _mm512_shuffle_epi8(_mm512_broadcast_i32x4(_mm_load_si128(reinterpret_cast<const __m128i*>(quant::kLevelCodes))), indices);
}
/// Sets bit 4 of code i where bit i of the two blocks' qh is set.
inline __m512i fifth_bits(__m512i code, const uint8_t* a, const uint8_t* b) {
  uint32_t low, high;
  std::memcpy(&low, a, 4);
  std::memcpy(&high, b, 4);
  const __m512i sixteen = _mm512_set1_epi8(16);
  return _mm512_mask_add_epi8(code, static_cast<__mmask64>(low | static_cast<uint64_t>(high) << 32), code, sixteen);
}

/// Bytes s of a word of eight, as floats, each in the two lanes of its sub-block of 32.
inline __m512 sub_block_lanes(uint64_t bytes) {
  const __m128i pairs = _mm_cvtsi64_si128(static_cast<long long>(bytes));
  return _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(_mm_unpacklo_epi8(pairs, pairs)));
}

template <class F>
struct Unpack512;

template <>
struct Unpack512<quant::Q4_0> {
  template <int N = 8>
  static Strip512 strip(const quant::Q4_0::Block* b) {
    Strip512 s;
    pairs_of_blocks<N>(s.code, b, [](const auto& low, const auto& high) { return nibble_blocks(low.qs, high.qs); });
    s.scale = block_halves(block_words<N>(b));
    return s;
  }
};

template <>
struct Unpack512<quant::Q4_1> {
  template <int N = 8>
  static Strip512 strip(const quant::Q4_1::Block* b) {
    Strip512 s;
    pairs_of_blocks<N>(s.code, b, [](const auto& low, const auto& high) { return nibble_blocks(low.qs, high.qs); });
    scales_and_mins<N>(s, b);
    return s;
  }
};

template <>
struct Unpack512<quant::Q5_0> {
  template <int N = 8>
  static Strip512 strip(const quant::Q5_0::Block* b) {
    Strip512 s;
    pairs_of_blocks<N>(s.code, b, [](const auto& low, const auto& high) { return fifth_bits(nibble_blocks(low.qs, high.qs), low.qh, high.qh); });
    s.scale = block_halves(block_words<N>(b));
    return s;
  }
};

template <>
struct Unpack512<quant::Q5_1> {
  template <int N = 8>
  static Strip512 strip(const quant::Q5_1::Block* b) {
    Strip512 s;
    pairs_of_blocks<N>(s.code, b, [](const auto& low, const auto& high) { return fifth_bits(nibble_blocks(low.qs, high.qs), low.qh, high.qh); });
    scales_and_mins<N>(s, b);
    return s;
  }
};

template <>
struct Unpack512<quant::Q8_0> {
  template <int N = 8>
  static Strip512 strip(const quant::Q8_0::Block* b) {
    Strip512 s;
    pairs_of_blocks<N>(s.code, b, [](const auto& first, const auto& second) {
      const __m256i low = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(first.qs)),
                    high = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(second.qs));
      return _mm512_xor_si512(_mm512_inserti64x4(_mm512_castsi256_si512(low), high, 1), _mm512_set1_epi8(-128));
    });
    s.scale = block_halves(block_words<N>(b));
    return s;
  }
};

template <>
struct Unpack512<quant::Q2_K> {
  template <int N = 1>
  static Strip512 strip(const quant::Q2_K::Block* b) {
    Strip512 s;
    const __m512i three = _mm512_set1_epi8(3);
    for (int n = 0; n < 2; ++n) {
      const __m512i bytes = twice(b->qs + 32 * n);
      s.code[2 * n] = _mm512_and_si512(_mm512_srlv_epi64(bytes, shifts(0, 2)), three);
      s.code[2 * n + 1] = _mm512_and_si512(_mm512_srlv_epi64(bytes, shifts(4, 6)), three);
    }
    const __m512i packed = _mm512_cvtepu8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(b->scales)));
    s.scale = _mm512_mul_ps(half16(b->d), _mm512_cvtepi32_ps(_mm512_and_si512(packed, _mm512_set1_epi32(15))));
    s.min = _mm512_mul_ps(half16(b->dmin), _mm512_cvtepi32_ps(_mm512_srli_epi32(packed, 4)));
    return s;
  }
};

template <>
struct Unpack512<quant::Q3_K> {
  template <int N = 1>
  static Strip512 strip(const quant::Q3_K::Block* b) {
    Strip512 s;
    const __m512i three = _mm512_set1_epi8(3), four = _mm512_set1_epi8(4), mask = twice(b->hmask);
    for (int c = 0; c < 4; ++c) {
      const __m512i low = _mm512_and_si512(_mm512_srlv_epi64(twice(b->qs + 32 * (c / 2)), c % 2 ? shifts(4, 6) : shifts(0, 2)), three);
      s.code[c] = _mm512_mask_add_epi8(low, _mm512_test_epi8_mask(mask, halves(1 << (2 * c), 2 << (2 * c))), low, four);
    }
    s.scale = _mm512_mul_ps(half16(b->d), scales(b->scales));
    return s;
  }
  /// Sixteen 6-bit scales less 32: low nibbles of bytes 0..7, high nibbles of them, and the bit pairs of bytes 8..11.
  static __m512 scales(const uint8_t* packed) {
    uint64_t low;
    uint32_t high;
    std::memcpy(&low, packed, 8);
    std::memcpy(&high, packed + 8, 4);
    const __m128i nibbles = _mm_and_si128(_mm_set_epi64x(static_cast<long long>(low >> 4), static_cast<long long>(low)), _mm_set1_epi8(15));
    const __m128i pairs = _mm_srlv_epi32(_mm_set1_epi32(static_cast<int>(high)), _mm_setr_epi32(0, 2, 4, 6));
    const __m128i top = _mm_slli_epi32(_mm_and_si128(pairs, _mm_set1_epi8(3)), 4);
    return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_sub_epi8(_mm_or_si128(nibbles, top), _mm_set1_epi8(32))));
  }
};

inline __m512i k_nibbles(const uint8_t* qs) { return _mm512_and_si512(_mm512_srlv_epi64(twice(qs), shifts(0, 4)), _mm512_set1_epi8(15)); }

template <>
struct Unpack512<quant::Q4_K> {
  template <int N = 1>
  static Strip512 strip(const quant::Q4_K::Block* b) {
    Strip512 s;
    for (int c = 0; c < 4; ++c) s.code[c] = k_nibbles(b->qs + 32 * c);
    const quant::KScales k = quant::k_scales(b->scales);
    s.scale = _mm512_mul_ps(half16(b->d), sub_block_lanes(k.scales));
    s.min = _mm512_mul_ps(half16(b->dmin), sub_block_lanes(k.mins));
    return s;
  }
};

template <>
struct Unpack512<quant::Q5_K> {
  template <int N = 1>
  static Strip512 strip(const quant::Q5_K::Block* b) {
    Strip512 s;
    const __m512i high = twice(b->qh), sixteen = _mm512_set1_epi8(16);
    for (int c = 0; c < 4; ++c) {
      const __m512i low = k_nibbles(b->qs + 32 * c);
      s.code[c] = _mm512_mask_add_epi8(low, _mm512_test_epi8_mask(high, halves(1 << (2 * c), 2 << (2 * c))), low, sixteen);
    }
    const quant::KScales k = quant::k_scales(b->scales);
    s.scale = _mm512_mul_ps(half16(b->d), sub_block_lanes(k.scales));
    s.min = _mm512_mul_ps(half16(b->dmin), sub_block_lanes(k.mins));
    return s;
  }
};

template <>
struct Unpack512<quant::Q6_K> {
  template <int N = 1>
  static Strip512 strip(const quant::Q6_K::Block* b) {
    Strip512 s;
    const __m512i low = _mm512_set1_epi8(15), high = _mm512_set1_epi8(0x30);
    for (int n = 0; n < 2; ++n) {
      const __m512i ql = _mm512_loadu_si512(b->ql + 64 * n), qh = twice(b->qh + 32 * n);
      // Bits 2t, 2t+1 of qh rotated to bits 4, 5, for t = 0, 1 and t = 2, 3.
      const __m512i first = _mm512_and_si512(_mm512_rolv_epi64(qh, shifts(4, 2)), high),
                    second = _mm512_and_si512(_mm512_rorv_epi64(qh, shifts(0, 2)), high);
      s.code[2 * n] = _mm512_or_si512(_mm512_and_si512(ql, low), first);
      s.code[2 * n + 1] = _mm512_or_si512(_mm512_and_si512(_mm512_srli_epi64(ql, 4), low), second);
    }
    s.scale = _mm512_mul_ps(half16(b->d), lanes16(b->scales));
    return s;
  }
};

template <>
struct Unpack512<quant::IQ4_NL> {
  template <int N = 8>
  static Strip512 strip(const quant::IQ4_NL::Block* b) {
    Strip512 s;
    pairs_of_blocks<N>(s.code, b, [](const auto& low, const auto& high) { return level_codes(nibble_blocks(low.qs, high.qs)); });
    s.scale = block_halves(block_words<N>(b));
    return s;
  }
};

template <>
struct Unpack512<quant::IQ4_XS> {
  template <int N = 1>
  static Strip512 strip(const quant::IQ4_XS::Block* b) {
    Strip512 s;
    for (int c = 0; c < 4; ++c) s.code[c] = level_codes(nibble_blocks(b->qs + 32 * c, b->qs + 32 * c + 16));
    uint32_t packed;
    std::memcpy(&packed, b->scales_l, 4);
    const __m512i twice = _mm512_setr_epi32(0, 0, 2, 2, 4, 4, 6, 6, 8, 8, 10, 10, 12, 12, 14, 14);  // a sub-block is two groups
    const __m512i low = _mm512_srlv_epi32(_mm512_set1_epi32(static_cast<int>(packed)), _mm512_add_epi32(twice, twice));
    const __m512i high = _mm512_srlv_epi32(_mm512_set1_epi32(b->scales_h << 4), twice);
    const __m512i scale = _mm512_or_si512(_mm512_and_si512(low, _mm512_set1_epi32(15)), _mm512_and_si512(high, _mm512_set1_epi32(0x30)));
    s.scale = _mm512_mul_ps(half16(b->d), _mm512_cvtepi32_ps(_mm512_sub_epi32(scale, _mm512_set1_epi32(32))));
    return s;
  }
};

/// l[i] + l[i+8], then + [i+4], + [i+2], + [i+1].
inline float sum_lanes(__m512 v) {
  const __m256 eight = _mm256_add_ps(_mm512_castps512_ps256(v), _mm512_extractf32x8_ps(v, 1));
  const __m128 four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
  const __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
  return _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)));
}

/// The same of four vectors: 9 shuffles and 5 additions instead of 16 and 16.
inline __m128 sum_lanes(__m512 a, __m512 b, __m512 c, __m512 d) {
  const __m512 ab = _mm512_add_ps(_mm512_shuffle_f32x4(a, b, 0x44), _mm512_shuffle_f32x4(a, b, 0xEE));  // eight lanes left of each
  const __m512 cd = _mm512_add_ps(_mm512_shuffle_f32x4(c, d, 0x44), _mm512_shuffle_f32x4(c, d, 0xEE));
  const __m512 four = _mm512_add_ps(_mm512_shuffle_f32x4(ab, cd, 0x88), _mm512_shuffle_f32x4(ab, cd, 0xDD));
  const __m512 two = _mm512_add_ps(four, _mm512_permute_ps(four, 0xEE));
  const __m512 one = _mm512_add_ps(two, _mm512_movehdup_ps(two));
  return _mm512_castps512_ps128(_mm512_permutexvar_ps(_mm512_setr_epi32(0, 4, 8, 12, 0, 4, 8, 12, 0, 4, 8, 12, 0, 4, 8, 12), one));
}

}  // namespace KERF_ISA
}  // namespace kerf::cpu
