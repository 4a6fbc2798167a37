// A strip of 256 weights of each format as 8 registers of codes in natural order, with the scales and minima of groups
// 0..7 and 8..15 in two registers each. One specialisation per format; layouts are drawn in quant/<format>.h.
// Codes are unsigned, except where kSigned says that they are the format's own signed bytes.
#pragma once
#include <immintrin.h>

#include "backends/cpu/dot_strips.h"

namespace kerf::cpu {
inline namespace KERF_ISA {

struct Strip256 {
  __m256i code[8];
  __m256 scale[2], min[2];  // min only where the format has one
};

inline __m256i load32(const void* p) { return _mm256_loadu_si256(static_cast<const __m256i*>(p)); }
inline __m256i masked(__m256i v, int bits) { return _mm256_and_si256(v, _mm256_set1_epi8(static_cast<char>(bits))); }
inline __m256i shifted_right(__m256i v, int by) { return by >= 0 ? _mm256_srli_epi16(v, by) : _mm256_slli_epi16(v, -by); }
inline __m256 half8(uint16_t h) { return _mm256_set1_ps(_cvtsh_ss(h)); }

/// All ones in lanes below n.
inline __m256i lanes_below(int n) { return _mm256_cmpgt_epi32(_mm256_set1_epi32(n), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7)); }

/// 32-bit words, one at the start of each of N <= 8 blocks, and zeros.
template <int N, class Block>
__m256i block_words(const Block* b) {
  constexpr int kBytes = sizeof(Block);
  const __m256i offsets = _mm256_mullo_epi32(_mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7), _mm256_set1_epi32(kBytes));
  const auto* words = reinterpret_cast<const int*>(b);
  if (N == 8) return _mm256_i32gather_epi32(words, offsets, 1);
  return _mm256_mask_i32gather_epi32(_mm256_setzero_si256(), words, offsets, lanes_below(N), 1);
}
/// The low halves of eight words as f16, each in the two lanes of its block of 32.
inline void block_halves(__m256i words, __m256 (&out)[2]) {
  const __m256i narrow = _mm256_packus_epi32(_mm256_and_si256(words, _mm256_set1_epi32(0xFFFF)), _mm256_setzero_si256());
  const __m256 value = _mm256_cvtph_ps(_mm256_castsi256_si128(_mm256_permute4x64_epi64(narrow, 0x08)));
  out[0] = _mm256_permutevar8x32_ps(value, _mm256_setr_epi32(0, 0, 1, 1, 2, 2, 3, 3));
  out[1] = _mm256_permutevar8x32_ps(value, _mm256_setr_epi32(4, 4, 5, 5, 6, 6, 7, 7));
}
inline void negated_block_halves(__m256i words, __m256 (&out)[2]) {
  block_halves(words, out);
  for (auto& v : out) v = _mm256_sub_ps(_mm256_setzero_ps(), v);
}

/// [low nibbles, high nibbles] of 16 bytes.
inline __m256i nibble_block(const uint8_t* qs) {
  const __m256i both = _mm256_broadcastsi128_si256(_mm_loadu_si128(reinterpret_cast<const __m128i*>(qs)));
  return masked(_mm256_srlv_epi64(both, _mm256_setr_epi64x(0, 0, 4, 4)), 15);
}
/// The levels of IQ4_NL that 32 indices mean.
inline __m256i levels(__m256i indices) {
  const __m128i codes = _mm_load_si128(reinterpret_cast<const __m128i*>(quant::kLevelCodes));
  return _mm256_shuffle_epi8(_mm256_broadcastsi128_si256(_mm_xor_si128(codes, _mm_set1_epi8(-128))), indices);
}
/// 16 in byte i where bit i of the 32 is set.
inline __m256i fifth_bits(const uint8_t* qh) {
  int bits;
  std::memcpy(&bits, qh, 4);
  const __m256i byte_of = _mm256_setr_epi64x(0, 0x0101010101010101, 0x0202020202020202, 0x0303030303030303);
  const __m256i bit_of = _mm256_set1_epi64x(static_cast<long long>(0x8040201008040201));
  const __m256i picked = _mm256_and_si256(_mm256_shuffle_epi8(_mm256_set1_epi32(bits), byte_of), bit_of);
  return masked(_mm256_cmpeq_epi8(picked, bit_of), 16);
}

/// d times sixteen signed or unsigned bytes.
inline void scaled_bytes(__m256 d, __m128i bytes, bool is_signed, __m256 (&out)[2]) {
  for (int i = 0; i < 2; ++i) {
    const __m128i eight = i ? _mm_srli_si128(bytes, 8) : bytes;
    out[i] = _mm256_mul_ps(d, _mm256_cvtepi32_ps(is_signed ? _mm256_cvtepi8_epi32(eight) : _mm256_cvtepu8_epi32(eight)));
  }
}
/// Bytes s of a word of eight, each in the two lanes of its sub-block of 32.
inline __m128i sub_block_bytes(uint64_t bytes) {
  const __m128i v = _mm_cvtsi64_si128(static_cast<long long>(bytes));
  return _mm_unpacklo_epi8(v, v);
}

template <class F>
struct Unpack256;

template <>
struct Unpack256<quant::Q4_0> {
  static constexpr bool kSigned = false;
  template <int N = 8>
  static Strip256 strip(const quant::Q4_0::Block* b) {
    Strip256 s;
    for (int i = 0; i < 8; ++i) s.code[i] = i < N ? nibble_block(b[i].qs) : _mm256_setzero_si256();
    block_halves(block_words<N>(b), s.scale);
    return s;
  }
};

template <>
struct Unpack256<quant::Q4_1> {
  static constexpr bool kSigned = false;
  template <int N = 8>
  static Strip256 strip(const quant::Q4_1::Block* b) {
    Strip256 s;
    for (int i = 0; i < 8; ++i) s.code[i] = i < N ? nibble_block(b[i].qs) : _mm256_setzero_si256();
    const __m256i words = block_words<N>(b);
    block_halves(words, s.scale);
    negated_block_halves(_mm256_srli_epi32(words, 16), s.min);
    return s;
  }
};

template <>
struct Unpack256<quant::Q5_0> {
  static constexpr bool kSigned = false;
  template <int N = 8>
  static Strip256 strip(const quant::Q5_0::Block* b) {
    Strip256 s;
    for (int i = 0; i < 8; ++i) s.code[i] = i < N ? _mm256_or_si256(nibble_block(b[i].qs), fifth_bits(b[i].qh)) : _mm256_setzero_si256();
    block_halves(block_words<N>(b), s.scale);
    return s;
  }
};

template <>
struct Unpack256<quant::Q5_1> {
  static constexpr bool kSigned = false;
  template <int N = 8>
  static Strip256 strip(const quant::Q5_1::Block* b) {
    Strip256 s;
    for (int i = 0; i < 8; ++i) s.code[i] = i < N ? _mm256_or_si256(nibble_block(b[i].qs), fifth_bits(b[i].qh)) : _mm256_setzero_si256();
    const __m256i words = block_words<N>(b);
    block_halves(words, s.scale);
    negated_block_halves(_mm256_srli_epi32(words, 16), s.min);
    return s;
  }
};

template <>
struct Unpack256<quant::Q8_0> {
  static constexpr bool kSigned = true;
  template <int N = 8>
  static Strip256 strip(const quant::Q8_0::Block* b) {
    Strip256 s;
    for (int i = 0; i < 8; ++i) s.code[i] = i < N ? load32(b[i].qs) : _mm256_setzero_si256();
    block_halves(block_words<N>(b), s.scale);
    return s;
  }
};

template <>
struct Unpack256<quant::Q2_K> {
  static constexpr bool kSigned = false;
  template <int N = 1>
  static Strip256 strip(const quant::Q2_K::Block* b) {
    Strip256 s;
    for (int i = 0; i < 8; ++i) s.code[i] = masked(shifted_right(load32(b->qs + 32 * (i / 4)), 2 * (i % 4)), 3);
    const __m128i packed = _mm_loadu_si128(reinterpret_cast<const __m128i*>(b->scales)), low = _mm_set1_epi8(15);
    scaled_bytes(half8(b->d), _mm_and_si128(packed, low), false, s.scale);
    scaled_bytes(half8(b->dmin), _mm_and_si128(_mm_srli_epi16(packed, 4), low), false, s.min);
    return s;
  }
};

template <>
struct Unpack256<quant::Q3_K> {
  static constexpr bool kSigned = false;
  template <int N = 1>
  static Strip256 strip(const quant::Q3_K::Block* b) {
    Strip256 s;
    const __m256i mask = load32(b->hmask);
    for (int i = 0; i < 8; ++i) {
      const __m256i low = masked(shifted_right(load32(b->qs + 32 * (i / 4)), 2 * (i % 4)), 3);
      s.code[i] = _mm256_or_si256(low, masked(shifted_right(mask, i - 2), 4));
    }
    scaled_bytes(half8(b->d), scales(b->scales), true, s.scale);
    return s;
  }
  /// Sixteen 6-bit scales less 32: low nibbles of bytes 0..7, high nibbles of them, and the bit pairs of bytes 8..11.
  static __m128i scales(const uint8_t* packed) {
    uint64_t low;
    uint32_t high;
    std::memcpy(&low, packed, 8);
    std::memcpy(&high, packed + 8, 4);
    const __m128i nibbles = _mm_and_si128(_mm_set_epi64x(static_cast<long long>(low >> 4), static_cast<long long>(low)), _mm_set1_epi8(15));
    const __m128i pairs = _mm_srlv_epi32(_mm_set1_epi32(static_cast<int>(high)), _mm_setr_epi32(0, 2, 4, 6));
    const __m128i top = _mm_slli_epi32(_mm_and_si128(pairs, _mm_set1_epi8(3)), 4);
    return _mm_sub_epi8(_mm_or_si128(nibbles, top), _mm_set1_epi8(32));
  }
};

template <class Block>
inline void k_scales_256(const Block* b, Strip256& s) {
  const quant::KScales k = quant::k_scales(b->scales);
  scaled_bytes(half8(b->d), sub_block_bytes(k.scales), false, s.scale);
  scaled_bytes(half8(b->dmin), sub_block_bytes(k.mins), false, s.min);
}

template <>
struct Unpack256<quant::Q4_K> {
  static constexpr bool kSigned = false;
  template <int N = 1>
  static Strip256 strip(const quant::Q4_K::Block* b) {
    Strip256 s;
    for (int i = 0; i < 8; ++i) s.code[i] = masked(shifted_right(load32(b->qs + 32 * (i / 2)), 4 * (i % 2)), 15);
    k_scales_256(b, s);
    return s;
  }
};

template <>
struct Unpack256<quant::Q5_K> {
  static constexpr bool kSigned = false;
  template <int N = 1>
  static Strip256 strip(const quant::Q5_K::Block* b) {
    Strip256 s;
    const __m256i high = load32(b->qh);
    for (int i = 0; i < 8; ++i) {
      const __m256i low = masked(shifted_right(load32(b->qs + 32 * (i / 2)), 4 * (i % 2)), 15);
      s.code[i] = _mm256_or_si256(low, masked(shifted_right(high, i - 4), 16));
    }
    k_scales_256(b, s);
    return s;
  }
};

template <>
struct Unpack256<quant::Q6_K> {
  static constexpr bool kSigned = false;
  template <int N = 1>
  static Strip256 strip(const quant::Q6_K::Block* b) {
    Strip256 s;
    for (int i = 0; i < 8; ++i) {
      const int n = i / 4, t = i % 4;
      const __m256i low = masked(shifted_right(load32(b->ql + 64 * n + 32 * (t % 2)), t / 2 * 4), 15);
      s.code[i] = _mm256_or_si256(low, masked(shifted_right(load32(b->qh + 32 * n), 2 * t - 4), 0x30));
    }
    scaled_bytes(half8(b->d), _mm_loadu_si128(reinterpret_cast<const __m128i*>(b->scales)), true, s.scale);
    return s;
  }
};

template <>
struct Unpack256<quant::IQ4_NL> {
  static constexpr bool kSigned = true;
  template <int N = 8>
  static Strip256 strip(const quant::IQ4_NL::Block* b) {
    Strip256 s;
    for (int i = 0; i < 8; ++i) s.code[i] = i < N ? levels(nibble_block(b[i].qs)) : _mm256_setzero_si256();
    block_halves(block_words<N>(b), s.scale);
    return s;
  }
};

template <>
struct Unpack256<quant::IQ4_XS> {
  static constexpr bool kSigned = true;
  template <int N = 1>
  static Strip256 strip(const quant::IQ4_XS::Block* b) {
    Strip256 s;
    for (int i = 0; i < 8; ++i) s.code[i] = levels(nibble_block(b->qs + 16 * i));
    uint32_t packed;
    std::memcpy(&packed, b->scales_l, 4);
    for (int h = 0; h < 2; ++h) {  // four sub-blocks, each in its two lanes
      const __m256i nibbles = _mm256_set1_epi32(static_cast<int>(packed >> (16 * h))), pairs = _mm256_set1_epi32(b->scales_h << 4 >> (8 * h));
      const __m256i low = _mm256_and_si256(_mm256_srlv_epi32(nibbles, _mm256_setr_epi32(0, 0, 4, 4, 8, 8, 12, 12)), _mm256_set1_epi32(15));
      const __m256i high = _mm256_and_si256(_mm256_srlv_epi32(pairs, _mm256_setr_epi32(0, 0, 2, 2, 4, 4, 6, 6)), _mm256_set1_epi32(0x30));
      const __m256i scale = _mm256_sub_epi32(_mm256_or_si256(low, high), _mm256_set1_epi32(32));
      s.scale[h] = _mm256_mul_ps(half8(b->d), _mm256_cvtepi32_ps(scale));
    }
    return s;
  }
};

/// l[i] + l[i+4], then + [i+2], + [i+1].
inline float sum_lanes(__m256 v) {
  const __m128 four = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
  const __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
  return _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)));
}

}  // namespace KERF_ISA
}  // namespace kerf::cpu
