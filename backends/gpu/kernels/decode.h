// What one thread decodes at a time, of weights of any format.
#pragma once
#include "backends/gpu/kernels/unpack.h"

namespace kerf::KERF_GPU_NS {

/// Values: what one group() gives, or one float.
template <class F>
constexpr int kPiece = quant::AffineFormat<F> ? 16 : 1;

/// put(j, value) for the values j of piece i of a row.
template <class F, class Fn>
KERF_DEVICE void decode_piece(const std::byte* row, int64_t i, Fn&& put) {
  if constexpr (quant::AffineFormat<F>) {
    const Group g = group_of_row<F>(row, i);
    KERF_UNROLL
    for (int j = 0; j < 16; ++j) put(j, value_of<F>(g, j));
  } else {
    put(0, float_of<F>(reinterpret_cast<const typename F::Block*>(row)[i]));
  }
}

}  // namespace kerf::KERF_GPU_NS
