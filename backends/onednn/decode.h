// Weights as floats, compiled for three instruction sets: oneDNN reads none of GGUF's formats.
#pragma once
#include <cstdint>

#include "core/dtype.h"

namespace kerf::onednn {

/// n values of a row in a format of quant/formats.h; n is a whole number of blocks.
using DecodeFn = void (*)(DType type, const void* row, int64_t n, float* out);
/// n floats rounded to bf16.
using RoundFn = void (*)(const float* x, int64_t n, uint16_t* out);

namespace base {
void decode(DType type, const void* row, int64_t n, float* out);
void round_to_bf16(const float* x, int64_t n, uint16_t* out);
}  // namespace base
namespace avx2 {
void decode(DType type, const void* row, int64_t n, float* out);
void round_to_bf16(const float* x, int64_t n, uint16_t* out);
}  // namespace avx2
namespace avx512 {
void decode(DType type, const void* row, int64_t n, float* out);
void round_to_bf16(const float* x, int64_t n, uint16_t* out);
}  // namespace avx512

}  // namespace kerf::onednn
