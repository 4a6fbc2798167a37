#include "quant/encode.h"

#include <cstring>
#include <string>

#include "core/error.h"

namespace kerf::quant {

bool is_cache_type(DType type) {
  return type == DType::f32 || type == DType::f16 || type == DType::bf16 || CacheBlocks::visit(type, [](auto) {});
}

void encode_row(DType type, const float* x, int64_t n, void* row) {
  auto* halves = static_cast<uint16_t*>(row);
  if (type == DType::f32) {
    std::memcpy(row, x, static_cast<size_t>(n) * sizeof(float));
  } else if (type == DType::f16) {
    for (int64_t i = 0; i < n; ++i) halves[i] = float_to_half(x[i]);
  } else if (type == DType::bf16) {
    for (int64_t i = 0; i < n; ++i) halves[i] = float_to_bf16(x[i]);
  } else {
    const bool known = CacheBlocks::visit(type, [&]<class F>(F) {
      auto* blocks = static_cast<typename F::Block*>(row);
      for (int64_t b = 0; b < n / 32; ++b) encode_block<F>(x + 32 * b, blocks[b]);
    });
    KERF_CHECK(known, "no encoder for " + std::string(name_of(type)));
  }
}

}  // namespace kerf::quant
