// Encoders of the formats that a key/value cache may have. Each block of 32 is coded on its own, by the rule of ggml's
// reference quantizers (ggml-org/ggml, quantize_row_q8_0_ref and its siblings), restated:
//
//   q8_0        d = largest |x| / 127,            code = x / d rounded to nearest, halves away from zero
//   q4_0, q5_0  d = the x of largest |x| / -L,    code = floor(x / d + L + 1/2), at most 2L - 1; L = 8, 16: the value that
//               the asymmetric range reaches only on one side is given to the extreme, which is therefore exact up to d
//   q4_1, q5_1  m = least x, d = (greatest x - m) / C,   code = floor((x - m) / d + 1/2); C = 15, 31
//
// The codes are made with the unrounded d; what is stored is d and m in binary16. x / d is x times 1/d, each rounded.
// Two cases the rule leaves open: 1/d overflows (|d| < 2^-128, which is 0 in binary16 anyway): all codes are those of 0. A
// block with a value that is not finite, or whose range is not: d = NaN, so that nothing is hidden: every value of it
// decodes to NaN.
#pragma once
#include <cmath>
#include <limits>
#include <type_traits>

#include "core/tensor.h"
#include "quant/formats.h"

namespace kerf::quant {
inline namespace KERF_ISA {

constexpr uint16_t kHalfNan = 0x7E00;

/// What a block's 32 values are coded with: code(x) = (x - shift) * inverse, rounded as the format says.
struct Step {
  float d = 0, shift = 0, inverse = 0;
  bool finite = true;
};

/// What the rule needs to know of a block. `extreme` is the first x of largest |x| (0 if all are). finite: no NaN, no infinity.
struct Extent {
  float least = 0, greatest = 0, extreme = 0;
  bool finite = true;
};

constexpr Extent extent_of(const float* x) {
  Extent e{x[0], x[0], 0, true};
  for (int i = 0; i < 32; ++i) {
    e.finite &= std::fabs(x[i]) <= std::numeric_limits<float>::max();
    if (x[i] < e.least) e.least = x[i];
    if (x[i] > e.greatest) e.greatest = x[i];
    if (std::fabs(x[i]) > std::fabs(e.extreme)) e.extreme = x[i];
  }
  return e;
}

constexpr Step step_of(float d, float shift, bool finite) {
  finite &= std::fabs(d) <= std::numeric_limits<float>::max();
  const float inverse = d != 0 ? 1 / d : 0;
  return {d, shift, std::fabs(inverse) <= std::numeric_limits<float>::max() ? inverse : 0, finite};
}

/// The step of format F for a block.
template <class F>
constexpr Step step_for(const Extent& e) {
  if constexpr (std::is_same_v<F, Q8_0>)
    return step_of(std::fabs(e.extreme) / 127, 0, e.finite);
  else if constexpr (F::kHasMin)
    return step_of((e.greatest - e.least) / (std::is_same_v<F, Q4_1> ? 15 : 31), e.least + 0.f,
                   e.finite);  // + 0.f: never -0, whichever zero came first
  else
    return step_of(e.extreme / static_cast<float>(-F::kOffset), 0, e.finite);
}

/// Largest code of F.
template <class F>
constexpr int kMaxCode = std::is_same_v<F, Q4_0> || std::is_same_v<F, Q4_1> ? 15 : 31;

/// Code of one value of a finite block: signed for q8_0, from 0 up for the others.
template <class F>
constexpr int code_of(float x, const Step& s) {
  if constexpr (std::is_same_v<F, Q8_0>) {
    return static_cast<int>(std::round(x * s.inverse));
  } else {
    const float half = F::kHasMin ? 0.5f : static_cast<float>(F::kOffset) + 0.5f;
    const int code = static_cast<int>((x - s.shift) * s.inverse + half);
    return code < kMaxCode<F> ? code : kMaxCode<F>;
  }
}

/// Lays codes out in a block.
template <class F>
void put_codes(const int32_t* codes, typename F::Block& b) {
  if constexpr (std::is_same_v<F, Q8_0>) {
    for (int i = 0; i < 32; ++i) b.qs[i] = static_cast<int8_t>(codes[i]);
  } else {
    for (int i = 0; i < 16; ++i) b.qs[i] = static_cast<uint8_t>((codes[i] & 15) | (codes[i + 16] & 15) << 4);
    if constexpr (kMaxCode<F> == 31) {
      uint32_t high = 0;
      for (int i = 0; i < 32; ++i) high |= static_cast<uint32_t>(codes[i] >> 4 & 1) << i;
      for (int i = 0; i < 4; ++i) b.qh[i] = static_cast<uint8_t>(high >> (8 * i));
    }
  }
}

template <class F>
void put_step(const Step& s, typename F::Block& b) {
  b.d = s.finite ? float_to_half(s.d) : kHalfNan;
  if constexpr (F::kHasMin) b.m = s.finite ? float_to_half(s.shift) : uint16_t{0};
}

template <class F>
void encode_block(const float* x, typename F::Block& b) {
  const Step s = step_for<F>(extent_of(x));
  int32_t codes[32] = {};
  if (s.finite)
    for (int i = 0; i < 32; ++i) codes[i] = code_of<F>(x[i], s);
  put_codes<F>(codes, b);
  put_step<F>(s, b);
}

/// The block formats of a cache. Floats (f32, f16, bf16) are rounded value by value.
using CacheBlocks = FormatList<Q8_0, Q5_1, Q5_0, Q4_1, Q4_0>;

}  // namespace KERF_ISA

/// f32, f16, bf16, q8_0, q5_1, q5_0, q4_1, q4_0: what a key/value cache may hold.
bool is_cache_type(DType type);

/// Encodes n values (a whole number of blocks) as one row of a cache type (KERF_CHECK).
void encode_row(DType type, const float* x, int64_t n, void* row);

}  // namespace kerf::quant
