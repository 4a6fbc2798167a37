// What a block format is to the rest of kerf: a Block whose size the dtype table knows, and at(block, i), which decodes
// value i exactly (one rounding to f32 at most where the format's own arithmetic has one). Everything naive is a template
// over this concept; fast kernels unpack whole blocks in their own way and are tested against it.
#pragma once
#include <concepts>

#include "core/dtype.h"

namespace kerf::quant {

template <class F>
concept BlockFormat = requires(const typename F::Block& b, int i) {
  { F::dtype } -> std::convertible_to<DType>;
  { F::at(b, i) } -> std::same_as<float>;
} && sizeof(typename F::Block) == static_cast<size_t>(info(F::dtype).block_bytes);

}  // namespace kerf::quant
