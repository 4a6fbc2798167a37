// The source of decode.h's functions: each format's own decoder, in the vectors the compiler makes of it.
#pragma once
#include "backends/onednn/decode.h"
#include "quant/decode_wide.h"

namespace kerf::onednn::KERF_ISA {

void decode(DType type, const void* row, int64_t n, float* out) {
  quant::Formats::visit(type, [&]<class F>(F) { quant::decode_row_wide<F>(row, n, out); });
}

void round_to_bf16(const float* x, int64_t n, uint16_t* out) {
  for (int64_t i = 0; i < n; ++i) out[i] = float_to_bf16(x[i]);
}

}  // namespace kerf::onednn::KERF_ISA
