// Weights of each format as bf16, row by row: a block becomes 32-value pieces of a row, each one 64-byte row of a tile.
// Values are those of the format, rounded once more to the nearest bf16 (ties to even).
//
// Formats with few distinct codes are looked up, not computed: the sixteen values of a 4-bit sub-block (d * scale * code -
// dmin * min, code = 0..15) are one FMA and one conversion, and vpermw then picks 32 of them per instruction. A value costs
// the same roundings as if it were computed. Per 32 weights this is 5 instructions instead of 10 for q4_k.
#pragma once
#include <immintrin.h>

#include <bit>
#include <cstring>

#include "quant/formats.h"

namespace kerf::cpu {
inline namespace KERF_ISA {

// Rows of 32 values that follow one another in k are this far apart: a panel is [K/32][2 tiles][16 rows][32 values].
inline constexpr int64_t kPanelRows = 32, kPanelStep = kPanelRows * 64;

inline void put(std::byte* out, int step, __m512i values) { _mm512_store_si512(out + step * kPanelStep, values); }

/// 32 bf16: sixteen of `low`, then sixteen of `high`.
inline __m512i to_bf16(__m512 low, __m512 high) { return std::bit_cast<__m512i>(_mm512_cvtne2ps_pbh(high, low)); }
inline __m512 half_lanes(uint16_t h) { return _mm512_cvtph_ps(_mm256_set1_epi16(static_cast<short>(h))); }
inline __m512i words_of_bytes(const uint8_t* p) { return _mm512_cvtepu8_epi16(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p))); }
inline __m512 floats_of_int8(const int8_t* p) {
  return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))));
}
inline __m512 codes0() { return _mm512_setr_ps(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15); }
inline __m512 codes16() { return _mm512_setr_ps(16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31); }
inline __m512i lookup(__m512i table, __m512i index) { return _mm512_permutexvar_epi16(index, table); }

/// Bits of `mask` from a, the others from b.
inline __m512i select(__m512i mask, __m512i a, __m512i b) { return _mm512_ternarylogic_epi32(mask, a, b, 0xCA); }
/// (a & mask) | b
inline __m512i and_or(__m512i a, __m512i mask, __m512i b) { return _mm512_ternarylogic_epi32(a, mask, b, 0xEA); }

/// Unpack<F>::block(words, half, out): one block of F. `words` are its bytes without a lone f16 (quant/interleaved.h), `half`
/// is that f16. Step s of the block's values goes to out + s kPanelStep.
template <class F>
struct Unpack;

/// 16 bytes of nibbles as 32 words: value j of the block in the low bits of word j, other bits above.
inline __m512i legacy_nibbles(const uint8_t* qs) {
  const __m512i twice = _mm512_cvtepu8_epi16(_mm256_broadcastsi128_si256(_mm_loadu_si128(reinterpret_cast<const __m128i*>(qs))));
  return _mm512_srlv_epi16(twice, _mm512_inserti64x4(_mm512_setzero_si512(), _mm256_set1_epi16(4), 1));
}
/// Words of five bits: nibbles with bit 4 from bit j of qh.
inline __m512i legacy_fives(const uint8_t* qs, const uint8_t* qh) {
  uint32_t high;
  std::memcpy(&high, qh, 4);
  const __m512i low = _mm512_and_si512(legacy_nibbles(qs), _mm512_set1_epi16(15));
  return _mm512_mask_add_epi16(low, high, low, _mm512_set1_epi16(16));
}
inline uint16_t half_at(const uint8_t* p) {
  uint16_t h;
  std::memcpy(&h, p, 2);
  return h;
}

template <>
struct Unpack<quant::Q4_0> {
  static void block(const uint8_t* words, uint16_t half, std::byte* out) {
    const __m512 value = _mm512_mul_ps(_mm512_sub_ps(codes0(), _mm512_set1_ps(8)), half_lanes(half));
    put(out, 0, lookup(to_bf16(value, value), legacy_nibbles(words)));  // both halves alike: bit 4 of an index does not matter
  }
};

template <>
struct Unpack<quant::Q4_1> {
  static void block(const uint8_t* words, uint16_t, std::byte* out) {
    const __m512 value = _mm512_fmadd_ps(codes0(), half_lanes(half_at(words)), half_lanes(half_at(words + 2)));
    put(out, 0, lookup(to_bf16(value, value), legacy_nibbles(words + 4)));
  }
};

template <>
struct Unpack<quant::Q5_0> {
  static void block(const uint8_t* words, uint16_t half, std::byte* out) {
    const __m512 d = half_lanes(half);
    const __m512 low = _mm512_mul_ps(_mm512_sub_ps(codes0(), _mm512_set1_ps(16)), d), high = _mm512_mul_ps(codes0(), d);
    put(out, 0, lookup(to_bf16(low, high), legacy_fives(words + 4, words)));
  }
};

template <>
struct Unpack<quant::Q5_1> {
  static void block(const uint8_t* words, uint16_t, std::byte* out) {
    const __m512 d = half_lanes(half_at(words)), m = half_lanes(half_at(words + 2));
    put(out, 0, lookup(to_bf16(_mm512_fmadd_ps(codes0(), d, m), _mm512_fmadd_ps(codes16(), d, m)), legacy_fives(words + 8, words + 4)));
  }
};

template <>
struct Unpack<quant::Q8_0> {
  static void block(const uint8_t* words, uint16_t half, std::byte* out) {
    const __m512 d = half_lanes(half);
    const auto* q = reinterpret_cast<const int8_t*>(words);
    put(out, 0, to_bf16(_mm512_mul_ps(floats_of_int8(q), d), _mm512_mul_ps(floats_of_int8(q + 16), d)));
  }
};

/// Eight scales d * scale, then eight minima -dmin * min, of Q4_K and Q5_K.
struct KScaleLanes {
  alignas(64) float lane[16];
  __m512 scale(int s) const { return _mm512_set1_ps(lane[s]); }
  __m512 min(int s) const { return _mm512_set1_ps(lane[8 + s]); }
  explicit KScaleLanes(const uint8_t* block) {
    const quant::KScales k = quant::k_scales(block + 4);
    const __m128i bytes = _mm_set_epi64x(static_cast<long long>(k.mins), static_cast<long long>(k.scales));
    uint32_t d_dmin;
    std::memcpy(&d_dmin, block, 4);
    const __m512 pair = _mm512_castps128_ps512(_mm_cvtph_ps(_mm_cvtsi32_si128(static_cast<int>(d_dmin ^ 0x80000000u))));
    const __m512 factor = _mm512_permutexvar_ps(_mm512_setr_epi32(0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1), pair);
    _mm512_store_ps(lane, _mm512_mul_ps(factor, _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(bytes))));
  }
};

template <>
struct Unpack<quant::Q4_K> {
  static void block(const uint8_t* words, uint16_t, std::byte* out) {
    const KScaleLanes k(words);
    const __m512i fifteen = _mm512_set1_epi16(15), sixteen = _mm512_set1_epi16(16);
    for (int i = 0; i < 4; ++i) {
      const auto values = [&](int s) { return _mm512_fmadd_ps(codes0(), k.scale(s), k.min(s)); };
      const __m512i table = to_bf16(values(2 * i + 1), values(2 * i)), q = words_of_bytes(words + 16 + 32 * i);
      put(out, 2 * i, lookup(table, and_or(q, fifteen, sixteen)));
      put(out, 2 * i + 1, lookup(table, _mm512_srli_epi16(q, 4)));
    }
  }
};

template <>
struct Unpack<quant::Q5_K> {
  static void block(const uint8_t* words, uint16_t, std::byte* out) {
    const KScaleLanes k(words);
    const __m512i fifteen = _mm512_set1_epi16(15), high = _mm512_slli_epi16(words_of_bytes(words + 16), 4);
    for (int i = 0; i < 4; ++i) {
      const __m512i q = words_of_bytes(words + 48 + 32 * i);
      for (int s = 2 * i; s < 2 * i + 2; ++s) {
        const __m512 scale = k.scale(s), min = k.min(s);
        const __m512i table = to_bf16(_mm512_fmadd_ps(codes0(), scale, min), _mm512_fmadd_ps(codes16(), scale, min));
        put(out, s, lookup(table, select(fifteen, s % 2 ? _mm512_srli_epi16(q, 4) : q, _mm512_srli_epi16(high, static_cast<unsigned>(s)))));
      }
    }
  }
};

/// Lane i of a table of four-value groups: group first + i/4 or, of eight-value groups, first + i/8.
inline __m512 spread4(__m512 v, int first) {
  return _mm512_permutexvar_ps(_mm512_add_epi32(_mm512_setr_epi32(0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3), _mm512_set1_epi32(first)), v);
}
inline __m512 spread8(__m512 v, int first) {
  return _mm512_permutexvar_ps(_mm512_add_epi32(_mm512_setr_epi32(0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1), _mm512_set1_epi32(first)), v);
}
/// Words 0-15 hold a, words 16-31 hold b.
inline __m512i two_groups(int a, int b) {
  return _mm512_inserti64x4(_mm512_set1_epi16(static_cast<short>(a)), _mm256_set1_epi16(static_cast<short>(b)), 1);
}

template <>
struct Unpack<quant::Q2_K> {
  static void block(const uint8_t* words, uint16_t, std::byte* out) {
    const __m512i packed = _mm512_cvtepu8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(words)));
    const __m512 scale = _mm512_mul_ps(half_lanes(half_at(words + 80)), _mm512_cvtepi32_ps(_mm512_and_si512(packed, _mm512_set1_epi32(15))));
    const __m512 min = _mm512_mul_ps(half_lanes(half_at(words + 82) ^ 0x8000), _mm512_cvtepi32_ps(_mm512_srli_epi32(packed, 4)));
    const __m512 code = _mm512_setr_ps(0, 1, 2, 3, 0, 1, 2, 3, 0, 1, 2, 3, 0, 1, 2, 3);
    for (int n = 0; n < 2; ++n) {  // one table for the eight groups of a half
      const auto values = [&](int first) { return _mm512_fmadd_ps(code, spread4(scale, first), spread4(min, first)); };
      const __m512i table = to_bf16(values(8 * n), values(8 * n + 4)), q = words_of_bytes(words + 16 + 32 * n);
      for (int j = 0; j < 4; ++j)
        put(out, 4 * n + j,
            lookup(table, and_or(_mm512_srli_epi16(q, static_cast<unsigned>(2 * j)), _mm512_set1_epi16(3), two_groups(8 * j, 8 * j + 4))));
    }
  }
};

template <>
struct Unpack<quant::Q3_K> {
  static void block(const uint8_t* words, uint16_t half, std::byte* out) {
    const __m512 scale = _mm512_mul_ps(half_lanes(half), scales(words + 96));
    const __m512 code = _mm512_setr_ps(-4, -3, -2, -1, 0, 1, 2, 3, -4, -3, -2, -1, 0, 1, 2, 3);
    const __m512i high = _mm512_slli_epi16(words_of_bytes(words), 2), three = _mm512_set1_epi16(3), seven = _mm512_set1_epi16(7);
    for (int n = 0; n < 2; ++n) {
      const __m512i q = words_of_bytes(words + 32 + 32 * n);
      for (int j = 0; j < 4; j += 2) {  // one table for four groups
        const int group = 8 * n + 2 * j;
        const auto values = [&](int first) { return _mm512_mul_ps(code, spread8(scale, first)); };
        const __m512i table = to_bf16(values(group), values(group + 2));
        for (int i = j; i < j + 2; ++i) {
          const __m512i low = _mm512_srli_epi16(q, static_cast<unsigned>(2 * i)), top = _mm512_srli_epi16(high, static_cast<unsigned>(4 * n + i));
          put(out, 4 * n + i, lookup(table, and_or(select(three, low, top), seven, two_groups(16 * (i - j), 16 * (i - j) + 8))));
        }
      }
    }
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

template <>
struct Unpack<quant::Q6_K> {
  static void block(const uint8_t* words, uint16_t half, std::byte* out) {
    alignas(64) float scale[16];
    alignas(64) int8_t code[256];
    _mm512_store_ps(scale, _mm512_mul_ps(half_lanes(half), floats_of_int8(reinterpret_cast<const int8_t*>(words + 192))));
    const __m512i fifteen = _mm512_set1_epi8(15), thirty_two = _mm512_set1_epi8(32);
    for (int n = 0; n < 2; ++n) {
      const __m512i ql = _mm512_loadu_si512(words + 64 * n);
      const __m512i qh = _mm512_broadcast_i64x4(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(words + 128 + 32 * n)));
      const auto shifts = [](int lower, int upper) { return _mm512_inserti64x4(_mm512_set1_epi64(lower), _mm256_set1_epi64x(upper), 1); };
      // Bits 2t, 2t+1 of qh rotated to bits 4, 5, for t = 0, 1 and t = 2, 3.
      const __m512i first = _mm512_and_si512(_mm512_rolv_epi64(qh, shifts(4, 2)), _mm512_set1_epi8(0x30));
      const __m512i second = _mm512_and_si512(_mm512_rorv_epi64(qh, shifts(0, 2)), _mm512_set1_epi8(0x30));
      _mm512_store_si512(code + 128 * n, _mm512_sub_epi8(and_or(ql, fifteen, first), thirty_two));
      _mm512_store_si512(code + 128 * n + 64, _mm512_sub_epi8(and_or(_mm512_srli_epi64(ql, 4), fifteen, second), thirty_two));
    }
    for (int s = 0; s < 8; ++s) {
      const auto values = [&](int g) { return _mm512_mul_ps(floats_of_int8(code + 16 * g), _mm512_set1_ps(scale[g])); };
      put(out, s, to_bf16(values(2 * s), values(2 * s + 1)));
    }
  }
};

/// Thirty-two values of a format of one value per block.
inline __m512i bf16_of(const quant::F32::Block* p) { return to_bf16(_mm512_loadu_ps(&p->value), _mm512_loadu_ps(&p[16].value)); }
inline __m512i bf16_of(const quant::BF16::Block* p) { return _mm512_loadu_si512(p); }
inline __m512i bf16_of(const quant::F16::Block* p) {
  const auto sixteen = [&](int i) { return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p + i))); };
  return to_bf16(sixteen(0), sixteen(16));
}

}  // namespace KERF_ISA
}  // namespace kerf::cpu
