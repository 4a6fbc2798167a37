// All block formats that kerf can decode: dispatch from the dtype found in a file to the format's type.
#pragma once
#include <cstddef>
#include <cstdint>

#include "core/tensor.h"
#include "quant/floats.h"
#include "quant/iq4_nl.h"
#include "quant/iq4_xs.h"
#include "quant/q2_k.h"
#include "quant/q3_k.h"
#include "quant/q4_0.h"
#include "quant/q4_1.h"
#include "quant/q4_k.h"
#include "quant/q5_0.h"
#include "quant/q5_1.h"
#include "quant/q5_k.h"
#include "quant/q6_k.h"
#include "quant/q8_0.h"

namespace kerf::quant {
inline namespace KERF_ISA {

template <class... F>
struct FormatList {
  /// f(F{}) for every format.
  template <class Fn>
  static void for_each(Fn&& f) {
    (f(F{}), ...);
  }
  /// f(F{}) for the format of `type`; false if the list has none.
  template <class Fn>
  static bool visit(DType type, Fn&& f) {
    return ((F::dtype == type && (f(F{}), true)) || ...);
  }
};

using AffineFormats = FormatList<Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, Q2_K, Q3_K, Q4_K, Q5_K, Q6_K, IQ4_NL, IQ4_XS>;
using Formats = FormatList<F32, F16, BF16, Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, Q2_K, Q3_K, Q4_K, Q5_K, Q6_K, IQ4_NL, IQ4_XS>;

template <BlockFormat F>
void decode_row(const void* row, int64_t n, float* out) {
  constexpr int kValues = info(F::dtype).block_values;
  const auto* blocks = static_cast<const typename F::Block*>(row);
  for (int64_t b = 0; b < n / kValues; ++b)
    if constexpr (AffineFormat<F>) {  // the same map with a group's scale computed once: test_blocks compares it with at
      uint8_t code[kValues];
      float scale[kValues / 16], min[kValues / 16];
      F::split(blocks[b], code, scale, min);
      for (int i = 0; i < kValues; ++i) {
        *out = scale[i / 16] * static_cast<float>(code[i] - F::kOffset);
        if constexpr (F::kHasMin) *out -= min[i / 16];
        ++out;
      }
    } else {
      for (int i = 0; i < kValues; ++i) *out++ = F::at(blocks[b], i);
    }
}

}  // namespace KERF_ISA

/// Whether values of this type can be decoded to f32: the formats above, and q8_g16.
bool has_decoder(DType type);

/// Decodes the n values of one row (a whole number of blocks). The type must have a decoder (KERF_CHECK).
void decode_row(DType type, const void* row, int64_t n, float* out);

/// Whether any tensor of this type can be decoded: has_decoder(), and the formats that store rows in tiles.
bool is_decodable(DType type);

/// Decodes row r of the tensor at `data`. The type must be decodable (KERF_CHECK).
void decode_row_of(const TensorDesc& d, const void* data, int64_t r, float* out);

/// The weight `rows` [N,K] of an affine format with sixteen rows interleaved (quant/interleaved.h), bytes of the result's desc.
void interleave(const TensorDesc& d, const void* rows, std::byte* out);

}  // namespace kerf::quant
