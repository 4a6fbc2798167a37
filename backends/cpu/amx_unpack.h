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
#include <utility>

#include "backends/cpu/lanes16.h"
#include "backends/cpu/transpose.h"
#include "quant/formats.h"

namespace kerf::cpu {
inline namespace KERF_ISA {

// Rows of 32 values that follow one another in k are this far apart: a panel is [K/32][2 tiles][16 rows][32 values].
inline constexpr int64_t kPanelRows = 32, kPanelStep = kPanelRows * 64;

inline void put(std::byte* out, int step, __m512i values) { _mm512_store_si512(out + step * kPanelStep, values); }

/// 32 bf16: sixteen of `low`, then sixteen of `high`.
inline __m512i to_bf16(__m512 low, __m512 high) { return std::bit_cast<__m512i>(_mm512_cvtne2ps_pbh(high, low)); }
inline __m512 half_lanes(const uint8_t* p) {
  int16_t h = 0;
  std::memcpy(&h, p, 2);
  return _mm512_cvtph_ps(_mm256_set1_epi16(h));
}
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

/// Sixteen rows of a strip of 256 values (a K-quant block, or up to eight blocks of 32), as Unpack<F>::rows reads them.
struct Strip {
  const uint8_t* codes = nullptr;   // of row 0: its words from kCode on, which hold the codes
  int64_t row = 0, block = 0;       // bytes from one row, and from one block, to the next
  const uint8_t* halves = nullptr;  // formats of 32 values with a lone f16: that of row 0 and block 0
  int64_t half_row = 0, half_block = 0;
  const std::byte* words = nullptr;  // K-quants: word 0 of the rows, interleaved, of which the four from kScaleWords on are there
  const std::byte* lone = nullptr;   // K-quants with a lone f16: those of the sixteen rows
};

/// Unpack<F>::rows(strip, blocks, out): row r's values 32 s .. 32 s + 31 go to out + 64 r + s kPanelStep.
template <class F>
struct Unpack;

/// Scales and minima of a K-quant block of sixteen rows, [group][row]. In memory, because from there a broadcast needs no
/// shuffle; GCC 12 would otherwise see the register behind it and permute that.
template <class F>
struct RowScales {
  static constexpr int kCount = Lanes16<F>::kGroups / Lanes16<F>::kGroupsPerScale;
  alignas(64) float scale[kCount][16];
  alignas(64) float min[F::kHasMin ? kCount : 1][16];

  explicit RowScales(const Strip& s) {
    const typename Lanes16<F>::Scales lanes(s.words, s.lone);
    [&]<int... i>(std::integer_sequence<int, i...>) { (store<i>(lanes), ...); }
    (std::make_integer_sequence<int, kCount>());
    __asm__("" : "+m"(scale), "+m"(min));
  }
  template <int i>
  void store(const typename Lanes16<F>::Scales& lanes) {
    _mm512_store_ps(scale[i], lanes.template scale<i>());
    if constexpr (F::kHasMin) _mm512_store_ps(min[i], lanes.template min<i>());
  }
};

/// Sixteen vectors of sixteen in place: [group][row] becomes [row][group].
inline void transpose_lanes(float (&v)[16][16]) {
  alignas(64) float copy[16][16];
  std::memcpy(copy, v, sizeof copy);
  transpose_rows(reinterpret_cast<const std::byte*>(copy), 64, [&](int c, __m512i column) { _mm512_store_si512(v[c], column); });
}

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
/// Formats of 32 values: f(codes of a block, lone half, where) for all blocks of sixteen rows.
template <class Fn>
void each_block(const Strip& s, int64_t blocks, std::byte* out, Fn f) {
  for (int64_t r = 0; r < 16; ++r)
    for (int64_t b = 0; b < blocks; ++b)
      f(s.codes + r * s.row + b * s.block, s.halves + r * s.half_row + b * s.half_block, out + 64 * r + b * kPanelStep);
}

/// Blocks of nibbles, each the index of one of sixteen levels.
inline void leveled_blocks(const Strip& s, int64_t blocks, __m512 level, std::byte* out) {
  each_block(s, blocks, out, [&](const uint8_t* codes, const uint8_t* half, std::byte* to) {
    const __m512 value = _mm512_mul_ps(level, half_lanes(half));
    put(to, 0, lookup(to_bf16(value, value), legacy_nibbles(codes)));  // both halves alike: bit 4 of an index does not matter
  });
}
/// The levels of IQ4_NL.
inline __m512 iq4_levels() {
  const __m512i codes = _mm512_cvtepu8_epi32(_mm_load_si128(reinterpret_cast<const __m128i*>(quant::kLevelCodes)));
  return _mm512_cvtepi32_ps(_mm512_sub_epi32(codes, _mm512_set1_epi32(quant::IQ4_NL::kOffset)));
}

template <>
struct Unpack<quant::Q4_0> {
  static void rows(const Strip& s, int64_t blocks, std::byte* out) { leveled_blocks(s, blocks, _mm512_sub_ps(codes0(), _mm512_set1_ps(8)), out); }
};

template <>
struct Unpack<quant::IQ4_NL> {
  static void rows(const Strip& s, int64_t blocks, std::byte* out) { leveled_blocks(s, blocks, iq4_levels(), out); }
};

template <>
struct Unpack<quant::Q4_1> {
  static void rows(const Strip& s, int64_t blocks, std::byte* out) {
    each_block(s, blocks, out, [code = codes0()](const uint8_t* words, const uint8_t*, std::byte* to) {
      const __m512 value = _mm512_fmadd_ps(code, half_lanes(words), half_lanes(words + 2));
      put(to, 0, lookup(to_bf16(value, value), legacy_nibbles(words + 4)));
    });
  }
};

template <>
struct Unpack<quant::Q5_0> {
  static void rows(const Strip& s, int64_t blocks, std::byte* out) {
    const __m512 low = _mm512_sub_ps(codes0(), _mm512_set1_ps(16)), high = codes0();
    each_block(s, blocks, out, [&](const uint8_t* words, const uint8_t* half, std::byte* to) {
      const __m512 d = half_lanes(half);
      put(to, 0, lookup(to_bf16(_mm512_mul_ps(low, d), _mm512_mul_ps(high, d)), legacy_fives(words + 4, words)));
    });
  }
};

template <>
struct Unpack<quant::Q5_1> {
  static void rows(const Strip& s, int64_t blocks, std::byte* out) {
    const __m512 low = codes0(), high = codes16();
    each_block(s, blocks, out, [&](const uint8_t* words, const uint8_t*, std::byte* to) {
      const __m512 d = half_lanes(words), m = half_lanes(words + 2);
      put(to, 0, lookup(to_bf16(_mm512_fmadd_ps(low, d, m), _mm512_fmadd_ps(high, d, m)), legacy_fives(words + 8, words + 4)));
    });
  }
};

template <>
struct Unpack<quant::Q8_0> {
  static void rows(const Strip& s, int64_t blocks, std::byte* out) {
    each_block(s, blocks, out, [](const uint8_t* codes, const uint8_t* half, std::byte* to) {
      const __m512 d = half_lanes(half);
      const auto* q = reinterpret_cast<const int8_t*>(codes);
      put(to, 0, to_bf16(_mm512_mul_ps(floats_of_int8(q), d), _mm512_mul_ps(floats_of_int8(q + 16), d)));
    });
  }
};

template <>
struct Unpack<quant::Q4_K> {
  static constexpr int kScaleWords = 0, kCode = 4, kCodeWords = 32;
  static void rows(const Strip& s, int64_t, std::byte* out) {
    const RowScales<quant::Q4_K> k(s);
    const __m512i fifteen = _mm512_set1_epi16(15), sixteen = _mm512_set1_epi16(16);
    const __m512 code = codes0();
    for (int64_t r = 0; r < 16; ++r, out += 64)
      for (int i = 0; i < 4; ++i) {
        const auto values = [&](int j) { return _mm512_fmsub_ps(code, _mm512_set1_ps(k.scale[j][r]), _mm512_set1_ps(k.min[j][r])); };
        const __m512i table = to_bf16(values(2 * i + 1), values(2 * i)), q = words_of_bytes(s.codes + r * s.row + 32 * i);
        put(out, 2 * i, lookup(table, and_or(q, fifteen, sixteen)));
        put(out, 2 * i + 1, lookup(table, _mm512_srli_epi16(q, 4)));
      }
  }
};

template <>
struct Unpack<quant::Q5_K> {
  static constexpr int kScaleWords = 0, kCode = 4, kCodeWords = 40;
  static void rows(const Strip& s, int64_t, std::byte* out) {
    const RowScales<quant::Q5_K> k(s);
    const __m512i fifteen = _mm512_set1_epi16(15);
    const __m512 low = codes0(), high = codes16();
    for (int64_t r = 0; r < 16; ++r, out += 64) {
      const uint8_t* codes = s.codes + r * s.row;
      const __m512i fifth = _mm512_slli_epi16(words_of_bytes(codes), 4);
      for (int i = 0; i < 4; ++i) {
        const __m512i q = words_of_bytes(codes + 32 + 32 * i);
        for (int j = 2 * i; j < 2 * i + 2; ++j) {
          const __m512 scale = _mm512_set1_ps(k.scale[j][r]), min = _mm512_set1_ps(k.min[j][r]);
          const __m512i table = to_bf16(_mm512_fmsub_ps(low, scale, min), _mm512_fmsub_ps(high, scale, min));
          put(out, j, lookup(table, select(fifteen, j % 2 ? _mm512_srli_epi16(q, 4) : q, _mm512_srli_epi16(fifth, static_cast<unsigned>(j)))));
        }
      }
    }
  }
};

template <>
struct Unpack<quant::IQ4_XS> {
  static constexpr int kScaleWords = 0, kCode = 2, kCodeWords = 32;
  static void rows(const Strip& s, int64_t, std::byte* out) {
    const RowScales<quant::IQ4_XS> k(s);
    const __m512 level = iq4_levels();
    for (int64_t r = 0; r < 16; ++r, out += 64)
      for (int i = 0; i < 8; ++i) {
        const __m512 value = _mm512_mul_ps(level, _mm512_set1_ps(k.scale[i][r]));
        put(out, i, lookup(to_bf16(value, value), legacy_nibbles(s.codes + r * s.row + 16 * i)));  // as in leveled_blocks
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

/// Here the scales of a row are as quick to unpack in the row as in lanes that are rows, and are needed in one register.
template <>
struct Unpack<quant::Q2_K> {
  static constexpr int kCode = 0, kCodeWords = 21;
  static void rows(const Strip& s, int64_t, std::byte* out) {
    const __m512 code = _mm512_setr_ps(0, 1, 2, 3, 0, 1, 2, 3, 0, 1, 2, 3, 0, 1, 2, 3);
    const __m512i three = _mm512_set1_epi16(3);
    for (int64_t r = 0; r < 16; ++r, out += 64) {
      const uint8_t* words = s.codes + r * s.row;
      const __m512i packed = _mm512_cvtepu8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(words)));
      const __m512 scale = _mm512_mul_ps(half_lanes(words + 80), _mm512_cvtepi32_ps(_mm512_and_si512(packed, _mm512_set1_epi32(15))));
      const __m512 min = _mm512_mul_ps(half_lanes(words + 82), _mm512_cvtepi32_ps(_mm512_srli_epi32(packed, 4)));
      for (int n = 0; n < 2; ++n) {  // one table for the eight groups of a half
        const auto values = [&](int first) { return _mm512_fmsub_ps(code, spread4(scale, first), spread4(min, first)); };
        const __m512i table = to_bf16(values(8 * n), values(8 * n + 4)), q = words_of_bytes(words + 16 + 32 * n);
        for (int j = 0; j < 4; ++j)
          put(out, 4 * n + j, lookup(table, and_or(_mm512_srli_epi16(q, static_cast<unsigned>(2 * j)), three, two_groups(8 * j, 8 * j + 4))));
      }
    }
  }
};

template <>
struct Unpack<quant::Q3_K> {
  static constexpr int kScaleWords = 23, kCode = 0, kCodeWords = 24;
  static void rows(const Strip& s, int64_t, std::byte* out) {
    RowScales<quant::Q3_K> k(s);
    transpose_lanes(k.scale);
    const __m512 code = _mm512_setr_ps(-4, -3, -2, -1, 0, 1, 2, 3, -4, -3, -2, -1, 0, 1, 2, 3);
    const __m512i three = _mm512_set1_epi16(3), seven = _mm512_set1_epi16(7);
    for (int64_t r = 0; r < 16; ++r, out += 64) {
      const uint8_t* codes = s.codes + r * s.row;
      const __m512 scale = _mm512_load_ps(k.scale[r]);
      const __m512i high = _mm512_slli_epi16(words_of_bytes(codes), 2);
      for (int n = 0; n < 2; ++n) {
        const __m512i q = words_of_bytes(codes + 32 + 32 * n);
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
  }
};

template <>
struct Unpack<quant::Q6_K> {
  static constexpr int kScaleWords = 48, kCode = 0, kCodeWords = 48;
  static void rows(const Strip& s, int64_t, std::byte* out) {
    const RowScales<quant::Q6_K> k(s);
    const auto shifts = [](int lower, int upper) { return _mm512_inserti64x4(_mm512_set1_epi64(lower), _mm256_set1_epi64x(upper), 1); };
    const __m512i fifteen = _mm512_set1_epi8(15), thirty_two = _mm512_set1_epi8(32), high_bits = _mm512_set1_epi8(0x30);
    const __m512i left = shifts(4, 2), right = shifts(0, 2);
    for (int64_t r = 0; r < 16; ++r, out += 64) {
      alignas(64) int8_t code[256];
      const uint8_t* codes = s.codes + r * s.row;
      for (int n = 0; n < 2; ++n) {
        const __m512i ql = _mm512_loadu_si512(codes + 64 * n);
        const __m512i qh = _mm512_broadcast_i64x4(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(codes + 128 + 32 * n)));
        // Bits 2t, 2t+1 of qh rotated to bits 4, 5, for t = 0, 1 and t = 2, 3.
        const __m512i first = _mm512_and_si512(_mm512_rolv_epi64(qh, left), high_bits),
                      second = _mm512_and_si512(_mm512_rorv_epi64(qh, right), high_bits);
        _mm512_store_si512(code + 128 * n, _mm512_sub_epi8(and_or(ql, fifteen, first), thirty_two));
        _mm512_store_si512(code + 128 * n + 64, _mm512_sub_epi8(and_or(_mm512_srli_epi64(ql, 4), fifteen, second), thirty_two));
      }
      __asm__("" : "+m"(code));  // as for RowScales
      for (int i = 0; i < 8; ++i) {
        const auto values = [&](int g) { return _mm512_mul_ps(floats_of_int8(code + 16 * g), _mm512_set1_ps(k.scale[g][r])); };
        put(out, i, to_bf16(values(2 * i), values(2 * i + 1)));
      }
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
