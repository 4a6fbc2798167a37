#include "quant/formats.h"

#include <string>

#include "core/error.h"
#include "quant/q8_g16.h"

namespace kerf::quant {

bool has_decoder(DType type) {
  return type == DType::q8_g16 || Formats::visit(type, [](auto) {});
}

void decode_row(DType type, const void* row, int64_t n, float* out) {
  if (type == DType::q8_g16) return Q8_G16::decode_row(row, n, out);
  const bool known = Formats::visit(type, [&]<class F>(F) { decode_row<F>(row, n, out); });
  KERF_CHECK(known, "no decoder for " + std::string(name_of(type)));
}

}  // namespace kerf::quant
