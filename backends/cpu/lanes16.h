// Sixteen rows of weights at once: a lane of a register is a row. In the interleaved layout (quant/interleaved.h) one load is
// a word of sixteen rows, four consecutive values each, so codes need no shuffles: masks and shifts that are the same in
// every lane, and neither do scales. Lanes16<F> has, for a block of sixteen rows of format F with G groups of 16 values,
//
//   kScattered                   whether codes<g> for g = 0, 1, .. jumps about in the block
//   kGroups, kGroupsPerScale     G, and how many neighbouring groups share a scale (and minimum)
//   codes<g>(words, code)        code[v], v < 4: values 4v..4v+3 of group g as unsigned bytes, each times 2^shift(g)
//   shift(g)                     0, or 2, 4 where a code is cheaper to have at the place it has in its byte
//   Scales(words, halves)        scale<i>() and min<i>() in f32, i < G / kGroupsPerScale; exact, as F defines them
//
//   value = scale * (code / 2^shift(g) - F::kOffset) - min
//
// Where a scale is a small integer times the block's d, and a code so short that their product is a byte (Q2_K, Q3_K), a group
// can be multiplied with its scale before anything is added (Folds):
//
//   Scales: block_scale()        d in f32;   factor<i>() the integers
//   folded<g>(words, factor, code)   bytes whose products with the activations need block_scale() * kFoldedSign alone:
//   value = block_scale * kFoldedSign * (folded code - kFoldedOffset) - min
//
// `words` is the block's first word, `halves` its lone scales (Interleaved<F>::words and halves).
#pragma once
#include <immintrin.h>

#include <cstddef>

#include "quant/interleaved.h"

namespace kerf::cpu {
inline namespace KERF_ISA {

inline __m512i word(const std::byte* words, int w) { return _mm512_loadu_si512(words + 64 * w); }
inline __m512i masked(__m512i w, uint32_t mask) { return _mm512_and_si512(w, _mm512_set1_epi32(static_cast<int>(mask))); }
/// (a & mask) | b, one instruction.
inline __m512i masked_or(__m512i a, uint32_t mask, __m512i b) {
  return _mm512_ternarylogic_epi32(a, _mm512_set1_epi32(static_cast<int>(mask)), b, 0xEA);
}
/// Logical shift of every lane, left if `left` > 0.
template <int left>
__m512i shifted(__m512i w) {
  if constexpr (left > 0) return _mm512_slli_epi32(w, left);
  if constexpr (left < 0) return _mm512_srli_epi32(w, -left);
  return w;
}
/// The nibbles of v in the low half of each byte, or where they are: low ones of `high` = 0, high ones times 16.
template <int high>
__m512i nibbles(__m512i w) {
  return masked(w, high ? 0xF0F0F0F0u : 0x0F0F0F0Fu);
}
inline __m512 halves16(const std::byte* p) { return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p))); }
/// The f16 in the low half of each word, and in the high half.
inline __m512 low_half(__m512i w) { return _mm512_cvtph_ps(_mm512_cvtepi32_epi16(w)); }
inline __m512 high_half(__m512i w) { return low_half(_mm512_srli_epi32(w, 16)); }
inline __m512 negated(__m512 v) { return _mm512_xor_ps(v, _mm512_set1_ps(-0.f)); }

/// d * (n - bias) for unsigned fields n of words. The field's bits, laid below the exponent of 2^23, are the float
/// 2^23 + n 2^at; a fused d 2^-at * float - d 2^-at * (2^23 + bias 2^at) is d * (n - bias) rounded once, and here exact: d
/// has 11 bits, and the field begins at bit 8 or later, so that the product with the constant has at most 11 + 13 of them.
template <int at, int bits, int bias = 0>
class Field {
  static_assert(at >= 8 && at + bits <= 23);

 public:
  explicit Field(__m512 d) : d_(_mm512_mul_ps(d, _mm512_set1_ps(1.f / (1 << at)))), c_(_mm512_mul_ps(d_, _mm512_set1_ps(0x1p23f + (bias << at)))) {}
  __m512 of(__m512i w) const {
    const __m512i number = masked_or(w, ((1u << bits) - 1) << at, _mm512_set1_epi32(0x4B000000));
    return _mm512_fmsub_ps(_mm512_castsi512_ps(number), d_, c_);
  }

 private:
  __m512 d_, c_;
};
/// Byte b of each word where Field<8, ..> looks for it.
template <int b>
__m512i byte_to_field(__m512i w) {
  return shifted<8 - 8 * b>(w);
}

template <class F>
struct Lanes16;

template <class F>
concept Folds = requires {
  Lanes16<F>::kFoldedOffset;
};

/// The same byte in each byte of a lane; lanes hold it, or a number that is equal to it modulo 256.
inline __m512i byte_everywhere(__m512i v) { return _mm512_mullo_epi32(masked(v, 0xFF), _mm512_set1_epi32(0x01010101)); }
/// Indices within 128 bits of byte 0 of each lane, four times.
inline __m512i first_bytes() { return _mm512_broadcast_i32x4(_mm_setr_epi32(0, 0x04040404, 0x08080808, 0x0C0C0C0C)); }
/// Byte i of each lane of `table` for each two-bit number i in the lane's bytes; bits above those two may be set.
inline __m512i look_up4(__m512i table, __m512i w) { return _mm512_shuffle_epi8(table, masked_or(w, 0x03030303u, first_bytes())); }

/// For formats without minimum, so that min<i>() can be named for all.
struct NoMin {
  template <int>
  __m512 min() const {
    return _mm512_setzero_ps();
  }
};

/// Formats of 32 values: words [kFirst, kFirst + 4) are the nibbles; with kFifth, that word's bit i is bit 4 of code i.
template <class F, int kFirst, int kFifth = -1>
struct Nibbles32 {
  static constexpr int kGroups = 2, kGroupsPerScale = 2;
  static constexpr bool kScattered = false;
  static constexpr int shift(int g) { return kFifth < 0 ? 4 * g : 0; }

  template <int g>
  static void codes(const std::byte* words, __m512i (&code)[4]) {
    if constexpr (kFifth < 0) {
      for (int v = 0; v < 4; ++v) code[v] = nibbles<g>(word(words, kFirst + v));
    } else {
      for (int v = 0; v < 4; ++v) code[v] = nibbles<0>(shifted<-4 * g>(word(words, kFirst + v)));
      // Two quads share a byte of the fifth bits: copied into all bytes of the lane, each byte then tests its own bit.
      for (int pair = 0; pair < 2; ++pair) {
        const __m512i byte =
            _mm512_shuffle_epi8(word(words, kFifth), _mm512_add_epi8(first_bytes(), _mm512_set1_epi8(static_cast<char>(2 * g + pair))));
        for (int v = 2 * pair; v < 2 * pair + 2; ++v) {
          const __mmask64 set = _mm512_test_epi8_mask(byte, _mm512_set1_epi32(v % 2 ? static_cast<int>(0x80402010u) : 0x08040201));
          code[v] = _mm512_mask_add_epi8(code[v], set, code[v], _mm512_set1_epi8(16));
        }
      }
    }
  }

  struct Scales {
    Scales(const std::byte* words, const std::byte* halves) {
      if constexpr (F::kHasMin) {
        d_ = low_half(word(words, 0));
        m_ = negated(high_half(word(words, 0)));
      } else {
        d_ = halves16(halves);
      }
    }
    template <int>
    __m512 scale() const {
      return d_;
    }
    template <int>
    __m512 min() const {
      return m_;
    }

   private:
    __m512 d_, m_;
  };
};

template <>
struct Lanes16<quant::Q4_0> : Nibbles32<quant::Q4_0, 0> {};
template <>
struct Lanes16<quant::Q4_1> : Nibbles32<quant::Q4_1, 1> {};
template <>
struct Lanes16<quant::Q5_0> : Nibbles32<quant::Q5_0, 1, 0> {};
template <>
struct Lanes16<quant::Q5_1> : Nibbles32<quant::Q5_1, 2, 1> {};

template <>
struct Lanes16<quant::Q8_0> {
  static constexpr int kGroups = 2, kGroupsPerScale = 2;
  static constexpr bool kScattered = false;
  static constexpr int shift(int) { return 0; }
  template <int g>
  static void codes(const std::byte* words, __m512i (&code)[4]) {
    for (int v = 0; v < 4; ++v) code[v] = _mm512_xor_si512(word(words, 4 * g + v), _mm512_set1_epi8(-128));
  }
  using Scales = Nibbles32<quant::Q8_0, 0>::Scales;
};

/// Two bits per value: word kFirst + 8n + .. has the quarters j of half n at bits 2j, as groups 8n + 2j + h.
template <int g, int kFirst>
__m512i two_bits(const std::byte* words, int v) {
  constexpr int n = g / 8, h = g % 2;
  return word(words, kFirst + 8 * n + 4 * h + v);
}

template <>
struct Lanes16<quant::Q2_K> {
  static constexpr int kGroups = 16, kGroupsPerScale = 1;
  static constexpr bool kScattered = false;
  static constexpr int shift(int g) { return g % 8 / 2 * 2; }
  template <int g>
  static void codes(const std::byte* words, __m512i (&code)[4]) {
    for (int v = 0; v < 4; ++v) code[v] = masked(two_bits<g, 4>(words, v), 0x03030303u << shift(g));
  }
  static constexpr int kFoldedOffset = 0, kFoldedSign = 1;
  template <int g>
  static void folded(const std::byte* words, __m512i factor, __m512i (&code)[4]) {
    const __m512i table = _mm512_mullo_epi32(factor, _mm512_set1_epi32(0x03020100));  // at most 3 * 15
    for (int v = 0; v < 4; ++v) code[v] = look_up4(table, shifted<-shift(g)>(two_bits<g, 4>(words, v)));
  }
  struct Scales {
    Scales(const std::byte* words, const std::byte*) : words_(words), d_(low_half(word(words, 20))), scale_(d_), min_(high_half(word(words, 20))) {}
    __m512 block_scale() const { return d_; }
    template <int i>
    __m512i factor() const {
      return masked(shifted<-8 * (i % 4)>(word(words_, i / 4)), 15);
    }
    template <int i>
    __m512 scale() const {
      return scale_.of(byte_to_field<i % 4>(word(words_, i / 4)));
    }
    template <int i>
    __m512 min() const {
      return min_.of(byte_to_field<i % 4>(word(words_, i / 4)));
    }

   private:
    const std::byte* words_;
    __m512 d_;
    Field<8, 4> scale_;
    Field<12, 4> min_;
  };
};

template <>
struct Lanes16<quant::Q3_K> {
  static constexpr int kGroups = 16, kGroupsPerScale = 1;
  static constexpr bool kScattered = false;
  static constexpr int shift(int g) { return g % 8 / 2 % 3 * 2; }  // the last quarter has no room for its third bit
  template <int g>
  static void codes(const std::byte* words, __m512i (&code)[4]) {
    constexpr int j = g % 8 / 2, quarter = g / 2, h = g % 2, s = shift(g);
    for (int v = 0; v < 4; ++v) {
      const __m512i low = masked(shifted<s - 2 * j>(two_bits<g, 8>(words, v)), 0x03030303u << s);
      code[v] = masked_or(shifted<s + 2 - quarter>(word(words, 4 * h + v)), 0x04040404u << s, low);
    }
  }
  // factor * (code - 4) lies in -124 .. 128: its negative, with 128 added, is an unsigned byte.
  static constexpr int kFoldedOffset = 128, kFoldedSign = -1;
  template <int g>
  static void folded(const std::byte* words, __m512i factor, __m512i (&code)[4]) {
    constexpr int j = g % 8 / 2, quarter = g / 2, h = g % 2;
    const __m512i one = byte_everywhere(factor), two = _mm512_add_epi8(one, one), four = _mm512_add_epi8(two, two);
    const __m512i multiples = _mm512_add_epi8(masked(one, 0xFF00FF00u), masked(two, 0xFFFF0000u));  // by 0, 1, 2, 3
    const __m512i table = _mm512_sub_epi8(_mm512_set1_epi8(-128), multiples);
    for (int v = 0; v < 4; ++v) {
      const __m512i low = look_up4(table, shifted<-2 * j>(two_bits<g, 8>(words, v)));
      const __mmask64 below = _mm512_testn_epi8_mask(word(words, 4 * h + v), _mm512_set1_epi8(static_cast<char>(1 << quarter)));
      code[v] = _mm512_mask_add_epi8(low, below, low, four);
    }
  }
  struct Scales : NoMin {
    Scales(const std::byte* words, const std::byte* halves) : d_(halves16(halves)), scale_(d_) {
      const __m512i low[2] = {word(words, 24), word(words, 25)}, high = word(words, 26);
      packed_[0] = masked_or(low[0], 0x0F0F0F0Fu, masked(shifted<4>(high), 0x30303030u));
      packed_[1] = masked_or(low[1], 0x0F0F0F0Fu, masked(shifted<2>(high), 0x30303030u));
      packed_[2] = masked_or(shifted<-4>(low[0]), 0x0F0F0F0Fu, masked(high, 0x30303030u));
      packed_[3] = masked_or(shifted<-4>(low[1]), 0x0F0F0F0Fu, masked(shifted<-2>(high), 0x30303030u));
    }
    __m512 block_scale() const { return d_; }
    template <int i>
    __m512i factor() const {
      return _mm512_sub_epi32(masked(shifted<-8 * (i % 4)>(packed_[i / 4]), 63), _mm512_set1_epi32(32));
    }
    template <int i>
    __m512 scale() const {
      return scale_.of(byte_to_field<i % 4>(packed_[i / 4]));
    }

   private:
    __m512 d_;
    Field<8, 6, 32> scale_;
    __m512i packed_[4];
  };
};

/// The twelve bytes of quant/k_scales.h, unpacked as there, in words 1..3; d and dmin in word 0.
struct KScales16 {
  KScales16(const std::byte* words, const std::byte*) : scale_(low_half(word(words, 0))), min_(high_half(word(words, 0))) {
    const __m512i a = word(words, 1), b = word(words, 2), c = word(words, 3);
    scales_[0] = a;  // the field's mask takes the two bits off that do not belong to it
    scales_[1] = masked_or(c, 0x0F0F0F0Fu, masked(shifted<-2>(a), 0x30303030u));
    mins_[0] = b;
    mins_[1] = masked_or(shifted<-4>(c), 0x0F0F0F0Fu, masked(shifted<-2>(b), 0x30303030u));
  }
  template <int i>
  __m512 scale() const {
    return scale_.of(byte_to_field<i % 4>(scales_[i / 4]));
  }
  template <int i>
  __m512 min() const {
    return min_.of(byte_to_field<i % 4>(mins_[i / 4]));
  }

 private:
  Field<8, 6> scale_, min_;
  __m512i scales_[2], mins_[2];
};

template <>
struct Lanes16<quant::Q4_K> {
  static constexpr int kGroups = 16, kGroupsPerScale = 2;
  static constexpr bool kScattered = false;
  static constexpr int shift(int g) { return g / 2 % 2 * 4; }
  template <int g>
  static void codes(const std::byte* words, __m512i (&code)[4]) {
    for (int v = 0; v < 4; ++v) code[v] = nibbles<g / 2 % 2>(word(words, 4 + 8 * (g / 4) + 4 * (g % 2) + v));
  }
  using Scales = KScales16;
};

template <>
struct Lanes16<quant::Q5_K> {
  static constexpr int kGroups = 16, kGroupsPerScale = 2;
  static constexpr bool kScattered = false;
  static constexpr int shift(int) { return 0; }
  template <int g>
  static void codes(const std::byte* words, __m512i (&code)[4]) {
    constexpr int sub_block = g / 2;
    for (int v = 0; v < 4; ++v) {
      const __m512i low = nibbles<0>(shifted<-4 * (sub_block % 2)>(word(words, 12 + 8 * (g / 4) + 4 * (g % 2) + v)));
      code[v] = masked_or(shifted<4 - sub_block>(word(words, 4 + 4 * (g % 2) + v)), 0x10101010u, low);
    }
  }
  using Scales = KScales16;
};

template <>
struct Lanes16<quant::Q6_K> {
  static constexpr int kGroups = 16, kGroupsPerScale = 1;
  static constexpr bool kScattered = true;
  static constexpr int shift(int) { return 0; }
  template <int g>
  static void codes(const std::byte* words, __m512i (&code)[4]) {
    constexpr int n = g / 8, t = g % 8 / 2, h = g % 2;
    for (int v = 0; v < 4; ++v) {
      const __m512i low = nibbles<0>(shifted<-4 * (t / 2)>(word(words, 16 * n + 8 * (t % 2) + 4 * h + v)));
      code[v] = masked_or(shifted<4 - 2 * t>(word(words, 32 + 8 * n + 4 * h + v)), 0x30303030u, low);
    }
  }
  struct Scales : NoMin {
    Scales(const std::byte* words, const std::byte* halves) : words_(words), scale_(halves16(halves)) {}
    template <int i>
    __m512 scale() const {  // a signed byte with its sign bit flipped is the byte plus 128
      return scale_.of(_mm512_xor_si512(byte_to_field<i % 4>(word(words_, 48 + i / 4)), _mm512_set1_epi32(0x8000)));
    }

   private:
    const std::byte* words_;
    Field<8, 8, 128> scale_;
  };
};

/// Words of indices, in the low or high nibbles of bytes, as codes of IQ4_NL's levels.
template <int high>
__m512i level_codes(__m512i w) {
  const __m512i codes = _mm512_broadcast_i32x4(_mm_load_si128(reinterpret_cast<const __m128i*>(quant::kLevelCodes)));
  return _mm512_shuffle_epi8(codes, nibbles<0>(shifted<-4 * high>(w)));
}

template <>
struct Lanes16<quant::IQ4_NL> {
  static constexpr int kGroups = 2, kGroupsPerScale = 2;
  static constexpr bool kScattered = false;
  static constexpr int shift(int) { return 0; }
  template <int g>
  static void codes(const std::byte* words, __m512i (&code)[4]) {
    for (int v = 0; v < 4; ++v) code[v] = level_codes<g>(word(words, v));
  }
  using Scales = Nibbles32<quant::IQ4_NL, 0>::Scales;
};

template <>
struct Lanes16<quant::IQ4_XS> {
  static constexpr int kGroups = 16, kGroupsPerScale = 2;
  static constexpr bool kScattered = false;
  static constexpr int shift(int) { return 0; }
  template <int g>
  static void codes(const std::byte* words, __m512i (&code)[4]) {
    for (int v = 0; v < 4; ++v) code[v] = level_codes<g % 2>(word(words, 2 + 4 * (g / 2) + v));
  }
  struct Scales : NoMin {
    Scales(const std::byte* words, const std::byte*) : scale_(low_half(word(words, 0))), low_(word(words, 1)), high_(word(words, 0)) {}
    template <int i>
    __m512 scale() const {  // four bits of scales_l and two of scales_h, which is the upper half of word 0, to bits 8..13
      return scale_.of(masked_or(shifted<8 - 4 * i>(low_), 0x0F00, masked(shifted<-4 - 2 * i>(high_), 0x3000)));
    }

   private:
    Field<8, 6, 32> scale_;
    __m512i low_, high_;
  };
};

}  // namespace KERF_ISA
}  // namespace kerf::cpu
