// What a block format is to the rest of kerf: a Block whose size the dtype table knows, and at(block, i), which decodes
// value i to exactly the f32 the format defines (the order of roundings included). Everything naive is a template over
// BlockFormat; fast kernels unpack whole blocks in their own way and are tested against it.
#pragma once
#include <concepts>
#include <cstdint>

#include "core/dtype.h"
#include "core/half.h"

namespace kerf::quant {

// Decoders are constexpr: such a function may be called in the code of a GPU too (nvcc --expt-relaxed-constexpr, clang), so the
// definition of a format is one for all.

inline namespace KERF_ISA {
/// Four bytes at any address as a little-endian word; compilers make one load of it.
constexpr uint32_t word_at(const uint8_t* p) {
  return p[0] | static_cast<uint32_t>(p[1]) << 8 | static_cast<uint32_t>(p[2]) << 16 | static_cast<uint32_t>(p[3]) << 24;
}
}  // namespace KERF_ISA

template <class F>
concept BlockFormat = requires(const typename F::Block& b, int i) {
  { F::dtype } -> std::convertible_to<DType>;
  { F::at(b, i) } -> std::same_as<float>;
}
&&sizeof(typename F::Block) == static_cast<size_t>(info(F::dtype).block_bytes);

/// A format whose values are an affine map of unsigned bytes, the codes, group by group of 16 values (a code may be a bit field of
/// the file, or what a table has for one):
///
///   value = scale * (code - kOffset) - min
///
/// split() writes a block in that form: codes[values], scale[values/16] and, if kHasMin, min[values/16]. An integer kernel needs no more:
/// a group's share of a dot product is scale * (sum code*q - kOffset * sum q) - min * sum q, times the activations' scale.
template <class F>
concept AffineFormat = BlockFormat<F> && requires(const typename F::Block& b, uint8_t* codes, float* scale, float* min) {
  { F::kOffset } -> std::convertible_to<int>;
  { F::kHasMin } -> std::convertible_to<bool>;
  F::split(b, codes, scale, min);
};

}  // namespace kerf::quant
