// Sixteen consecutive values of a block at once, for every affine format (quant/formats.h):
//
//   Group group<F>(const F::Block& b, int g)       values 16g .. 16g+15:   value = scale * (code - F::kOffset) - min
//
// Codes are four to a word, made by operations on words; they and the scales are those of F::split, bit for bit. Values are too,
// whether or not a compiler makes one fma of product and difference: scale * code has at most 11 + 7 + 6 bits, so it is exact.
// Blocks of 18, 22, 34, 110 and 210 bytes start at multiples of 2 only.
#pragma once
#include "backends/gpu/kernels/memory.h"
#include "quant/formats.h"

namespace kerf::KERF_GPU_NS {

struct Group {
  uint32_t code[4];  // byte j of word i: value 4i + j
  float scale, min;  // min is 0 where F has none
};

/// Whether a format can be unpacked so, and whether kernels can decode it at all.
inline bool is_affine(DType t) {
  return quant::AffineFormats::visit(t, [](auto) {});
}
inline bool is_decodable(DType t) {
  return quant::Formats::visit(t, [](auto) {});
}

/// Sixteen bytes at a multiple of `alignment`. At a multiple of 2 that is none of 4, four aligned words from two bytes before and
/// the last two bytes: half as many loads as of two bytes each. (No tensor starts there, so it has two bytes before.)
template <int alignment>
KERF_DEVICE Words4 sixteen(const uint8_t* p) {
  if constexpr (alignment == 16) {
    return load<Words4>(p);
  } else if constexpr (alignment == 8) {
    const auto a = load<Words2>(p), b = load<Words2>(p + 8);
    return {{a.w[0], a.w[1], b.w[0], b.w[1]}};
  } else if constexpr (alignment == 4) {
    return {{load<uint32_t>(p), load<uint32_t>(p + 4), load<uint32_t>(p + 8), load<uint32_t>(p + 12)}};
  } else {
    const auto odd = static_cast<unsigned>(reinterpret_cast<uintptr_t>(p) & 2);
    const uint8_t* from = p - odd;
    uint32_t w[5] = {load<uint32_t>(from), load<uint32_t>(from + 4), load<uint32_t>(from + 8), load<uint32_t>(from + 12), 0};
    if (odd) w[4] = load<uint16_t>(p + 14);
    Words4 out;
    KERF_UNROLL
    for (int i = 0; i < 4; ++i) out.w[i] = static_cast<uint32_t>((static_cast<uint64_t>(w[i + 1]) << 32 | w[i]) >> (8 * odd));
    return out;
  }
}
/// Bits 4i .. 4i+3 of `bits`, each the lowest of a byte: bit j is moved by 7j.
KERF_DEVICE uint32_t spread(uint32_t bits, int i) { return (bits >> (4 * i) & 15) * 0x00204081u & 0x01010101u; }

/// The four words f(0) .. f(3).
template <class Fn>
KERF_DEVICE void each_word(uint32_t (&code)[4], Fn&& f) {
  KERF_UNROLL
  for (int i = 0; i < 4; ++i) code[i] = f(i);
}
/// Nibbles, low ones for which = 0, high ones for 1.
KERF_DEVICE uint32_t nibbles(uint32_t w, int which) { return w >> (4 * which) & 0x0F0F0F0Fu; }
/// Each index replaced by its level (quant/iq4_nl.h).
KERF_DEVICE uint32_t levels(uint32_t indices) { return look_up16(0x3F2D1801u, 0x766A5D4Fu, 0xA6998D81u, 0xF1D9C5B5u, indices); }

KERF_DEVICE Group unpack(const quant::Q4_0::Block& b, int g) {
  Group r{{}, from_half(b.d), 0};
  const Words4 q = sixteen<2>(b.qs);
  each_word(r.code, [&](int i) { return nibbles(q.w[i], g); });
  return r;
}
KERF_DEVICE Group unpack(const quant::Q4_1::Block& b, int g) {
  Group r{{}, from_half(b.d), -from_half(b.m)};
  const Words4 q = sixteen<4>(b.qs);
  each_word(r.code, [&](int i) { return nibbles(q.w[i], g); });
  return r;
}
KERF_DEVICE Group unpack(const quant::Q5_0::Block& b, int g) {
  Group r{{}, from_half(b.d), 0};
  const Words4 q = sixteen<2>(b.qs);
  const uint32_t high = load<uint16_t>(b.qh + 2 * g);
  each_word(r.code, [&](int i) { return nibbles(q.w[i], g) | spread(high, i) << 4; });
  return r;
}
KERF_DEVICE Group unpack(const quant::Q5_1::Block& b, int g) {
  Group r{{}, from_half(b.d), -from_half(b.m)};
  const Words4 q = sixteen<8>(b.qs);
  const uint32_t high = load<uint16_t>(b.qh + 2 * g);
  each_word(r.code, [&](int i) { return nibbles(q.w[i], g) | spread(high, i) << 4; });
  return r;
}
KERF_DEVICE Group unpack(const quant::Q8_0::Block& b, int g) {
  Group r{{}, from_half(b.d), 0};
  const Words4 q = sixteen<2>(reinterpret_cast<const uint8_t*>(b.qs) + 16 * g);
  each_word(r.code, [&](int i) { return q.w[i] ^ 0x80808080u; });
  return r;
}
KERF_DEVICE Group unpack(const quant::IQ4_NL::Block& b, int g) {
  Group r{{}, from_half(b.d), 0};
  const Words4 q = sixteen<2>(b.qs);
  each_word(r.code, [&](int i) { return levels(nibbles(q.w[i], g)); });
  return r;
}
KERF_DEVICE Group unpack(const quant::IQ4_XS::Block& b, int g) {
  const int s = g / 2, low = b.scales_l[s / 2] >> (s % 2 * 4) & 15, high = b.scales_h >> (2 * s) & 3;
  Group r{{}, from_half(b.d) * static_cast<float>((low | high << 4) - 32), 0};
  const Words4 q = sixteen<8>(b.qs + 16 * s);
  each_word(r.code, [&](int i) { return levels(nibbles(q.w[i], g % 2)); });
  return r;
}
/// Of the K-quants, group g is half g % 2 of the 32 values that share bit positions.
KERF_DEVICE Group unpack(const quant::Q2_K::Block& b, int g) {
  const int scales = b.scales[g];
  Group r{{}, from_half(b.d) * static_cast<float>(scales & 15), from_half(b.dmin) * static_cast<float>(scales >> 4)};
  const Words4 q = sixteen<4>(b.qs + 32 * (g / 8) + 16 * (g % 2));
  each_word(r.code, [&](int i) { return q.w[i] >> (g % 8 / 2 * 2) & 0x03030303u; });
  return r;
}
KERF_DEVICE Group unpack(const quant::Q3_K::Block& b, int g) {
  const int low = b.scales[g % 8] >> (g / 8 * 4) & 15, high = b.scales[8 + g % 4] >> (g / 4 * 2) & 3;
  Group r{{}, from_half(b.d) * static_cast<float>((low | high << 4) - 32), 0};
  const Words4 q = sixteen<2>(b.qs + 32 * (g / 8) + 16 * (g % 2)), h = sixteen<2>(b.hmask + 16 * (g % 2));
  each_word(r.code, [&](int i) { return (q.w[i] >> (g % 8 / 2 * 2) & 0x03030303u) | (h.w[i] >> (g / 2) & 0x01010101u) << 2; });
  return r;
}
KERF_DEVICE Group unpack(const quant::Q6_K::Block& b, int g) {
  Group r{{}, from_half(b.d) * static_cast<float>(b.scales[g]), 0};
  const int n = g / 8, t = g % 8 / 2, l = 16 * (g % 2);
  const Words4 q = sixteen<2>(b.ql + 64 * n + 32 * (t % 2) + l), h = sixteen<2>(b.qh + 32 * n + l);
  each_word(r.code, [&](int i) { return nibbles(q.w[i], t / 2) | (h.w[i] >> (2 * t) & 0x03030303u) << 4; });
  return r;
}
/// Scale and minimum of Q4_K and Q5_K (quant/k_scales.h): the block's first sixteen bytes in one load.
KERF_DEVICE Group scales_of_k(const void* block, int s) {
  const auto head = load<Words4>(block);
  const int shift = s % 4 * 8;
  const uint32_t a = head.w[1] >> shift, b = head.w[2] >> shift, c = head.w[3] >> shift;
  const uint32_t scale = s < 4 ? a & 63 : (c & 15) | (a >> 2 & 0x30), min = s < 4 ? b & 63 : (c >> 4 & 15) | (b >> 2 & 0x30);
  return {{},
          from_half(static_cast<uint16_t>(head.w[0])) * static_cast<float>(scale),
          from_half(static_cast<uint16_t>(head.w[0] >> 16)) * static_cast<float>(min)};
}
KERF_DEVICE Group unpack(const quant::Q4_K::Block& b, int g) {
  Group r = scales_of_k(&b, g / 2);
  const Words4 q = sixteen<16>(b.qs + 32 * (g / 4) + 16 * (g % 2));
  each_word(r.code, [&](int i) { return nibbles(q.w[i], g / 2 % 2); });
  return r;
}
KERF_DEVICE Group unpack(const quant::Q5_K::Block& b, int g) {
  Group r = scales_of_k(&b, g / 2);
  const Words4 q = sixteen<16>(b.qs + 32 * (g / 4) + 16 * (g % 2)), h = sixteen<16>(b.qh + 16 * (g % 2));
  each_word(r.code, [&](int i) { return nibbles(q.w[i], g / 2 % 2) | (h.w[i] >> (g / 2) & 0x01010101u) << 4; });
  return r;
}

template <quant::AffineFormat F>
KERF_DEVICE Group group(const typename F::Block& b, int g) {
  return unpack(b, g);
}
/// Group i of a row: values 16i .. 16i+15. A row has fewer than 2^32 of them, and unsigned division by 2 or 16 is a shift.
template <quant::AffineFormat F>
KERF_DEVICE Group group_of_row(const void* row, int64_t i) {
  constexpr uint32_t kGroups = info(F::dtype).block_values / 16;
  const auto g = static_cast<uint32_t>(i);
  return unpack(static_cast<const typename F::Block*>(row)[g / kGroups], static_cast<int>(g % kGroups));
}

/// Byte j of a word as a float, less an offset: the byte becomes the last of the mantissa of 2^23, which no conversion needs.
template <int offset>
KERF_DEVICE float code_as_float(uint32_t word, int j) {
  return std::bit_cast<float>(0x4B000000u | (word >> (8 * j) & 0xFF)) - (8388608.f + offset);
}
/// Value i of a group, as F::at has it.
template <quant::AffineFormat F>
KERF_DEVICE float value_of(const Group& g, int i) {
  const float v = g.scale * code_as_float<F::kOffset>(g.code[i / 4], i % 4);
  return F::kHasMin ? v - g.min : v;
}

/// The value of a float format.
template <class F>
KERF_DEVICE float float_of(const typename F::Block& b) {
  if constexpr (F::dtype == DType::f16)
    return from_half(b.bits);
  else
    return F::at(b, 0);
}

}  // namespace kerf::KERF_GPU_NS
