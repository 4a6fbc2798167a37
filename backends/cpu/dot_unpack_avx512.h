// A strip of 256 weights of each format as 4 registers of unsigned codes in natural order, with the scale and minimum of
// group g in lane g. One specialisation per format; layouts are drawn in quant/<format>.h.
#pragma once
#include <immintrin.h>

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

/// 32-bit words, one at the start of each of n <= 8 blocks; zeros for the blocks that a tail lacks.
template <class Block>
__m256i block_words(const Block* b, int n) {
  constexpr int kBytes = sizeof(Block);
  const __m256i offsets = _mm256_mullo_epi32(_mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7), _mm256_set1_epi32(kBytes));
  if (n == 8) return _mm256_i32gather_epi32(reinterpret_cast<const int*>(b), offsets, 1);
  const auto present = static_cast<__mmask8>((1u << n) - 1);
  return _mm256_mmask_i32gather_epi32(_mm256_setzero_si256(), present, offsets, b, 1);
}
/// The low halves of eight words as f16, each in the two lanes of its block of 32.
inline __m512 block_halves(__m256i words) {
  const __m512 wide = _mm512_castps256_ps512(_mm256_cvtph_ps(_mm256_cvtepi32_epi16(words)));
  return _mm512_permutexvar_ps(_mm512_setr_epi32(0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7), wide);
}

/// Calls codes(a, b) for pairs of blocks, c = 0..3, of the n that are there. A last block without a partner is its own:
/// its second half meets zero scales and zero activations.
template <class Block, class Codes>
void pairs_of_blocks(__m512i (&code)[4], const Block* b, int n, Codes codes) {
  for (int c = 0; c < 4; ++c) {
    if (2 * c < n)
      code[c] = codes(b[2 * c], b[2 * c + 1 < n ? 2 * c + 1 : 2 * c]);
    else
      code[c] = _mm512_setzero_si512();
  }
}

/// Nibbles of two neighbouring blocks of 32: [low A, high A, low B, high B], 16 codes each.
inline __m512i nibble_blocks(const uint8_t* a, const uint8_t* b) {
  const __m128i low = _mm_loadu_si128(reinterpret_cast<const __m128i*>(a)), high = _mm_loadu_si128(reinterpret_cast<const __m128i*>(b));
  const __m512i both = _mm512_mask_broadcast_i64x2(_mm512_broadcast_i64x2(low), 0xF0, high);  // a blend with memory: no shuffle
  return _mm512_and_si512(_mm512_srlv_epi64(both, _mm512_setr_epi64(0, 0, 4, 4, 0, 0, 4, 4)), _mm512_set1_epi8(15));
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
  static Strip512 strip(const quant::Q4_0::Block* b, int n = 8) {
    Strip512 s;
    pairs_of_blocks(s.code, b, n, [](const auto& low, const auto& high) { return nibble_blocks(low.qs, high.qs); });
    s.scale = block_halves(block_words(b, n));
    return s;
  }
};

template <>
struct Unpack512<quant::Q4_1> {
  static Strip512 strip(const quant::Q4_1::Block* b, int n = 8) {
    Strip512 s;
    pairs_of_blocks(s.code, b, n, [](const auto& low, const auto& high) { return nibble_blocks(low.qs, high.qs); });
    const __m256i words = block_words(b, n);
    s.scale = block_halves(words);
    s.min = _mm512_sub_ps(_mm512_setzero_ps(), block_halves(_mm256_srli_epi32(words, 16)));
    return s;
  }
};

template <>
struct Unpack512<quant::Q5_0> {
  static Strip512 strip(const quant::Q5_0::Block* b, int n = 8) {
    Strip512 s;
    pairs_of_blocks(s.code, b, n, [](const auto& low, const auto& high) { return fifth_bits(nibble_blocks(low.qs, high.qs), low.qh, high.qh); });
    s.scale = block_halves(block_words(b, n));
    return s;
  }
};

template <>
struct Unpack512<quant::Q5_1> {
  static Strip512 strip(const quant::Q5_1::Block* b, int n = 8) {
    Strip512 s;
    pairs_of_blocks(s.code, b, n, [](const auto& low, const auto& high) { return fifth_bits(nibble_blocks(low.qs, high.qs), low.qh, high.qh); });
    const __m256i words = block_words(b, n);
    s.scale = block_halves(words);
    s.min = _mm512_sub_ps(_mm512_setzero_ps(), block_halves(_mm256_srli_epi32(words, 16)));
    return s;
  }
};

template <>
struct Unpack512<quant::Q8_0> {
  static Strip512 strip(const quant::Q8_0::Block* b, int n = 8) {
    Strip512 s;
    pairs_of_blocks(s.code, b, n, [](const auto& first, const auto& second) {
      const __m256i low = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(first.qs)), high = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(second.qs));
      return _mm512_xor_si512(_mm512_inserti64x4(_mm512_castsi256_si512(low), high, 1), _mm512_set1_epi8(-128));
    });
    s.scale = block_halves(block_words(b, n));
    return s;
  }
};

template <>
struct Unpack512<quant::Q2_K> {
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

/// l[i] + l[i+8], then + [i+4], + [i+2], + [i+1].
inline float sum_lanes(__m512 v) {
  const __m256 eight = _mm256_add_ps(_mm512_castps512_ps256(v), _mm512_extractf32x8_ps(v, 1));
  const __m128 four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
  const __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
  return _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)));
}

}  // namespace KERF_ISA
}  // namespace kerf::cpu
