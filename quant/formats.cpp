#include "quant/formats.h"

#include <cstring>
#include <string>

#include "core/error.h"
#include "quant/bf16_t16.h"
#include "quant/interleaved.h"
#include "quant/q15_t16.h"
#include "quant/q8_g16.h"

namespace kerf::quant {
namespace {

/// Row r of 15-bit tiles.
void decode_q15(const std::byte* bytes, int64_t K, int64_t r, float* out) {
  for (int64_t k = 0; k < K; ++k) {
    const std::byte* at = bytes + Q15_T16::code_at(r, k, K);
    const Q15_T16::Code code{static_cast<int8_t>(*at), static_cast<int8_t>(at[Q15_T16::kTileBytes])};
    float step;
    std::memcpy(&step, bytes + Q15_T16::step_at(r, k, K), 4);
    out[k] = step * static_cast<float>(code.value());
  }
}

/// f(F{}) for the format F whose interleaved form is `type`.
template <class Fn>
bool visit_interleaved(DType type, Fn&& f) {
  bool found = false;
  AffineFormats::for_each([&]<class F>(F format) {
    if (Interleaved<F>::dtype == type) f(format), found = true;
  });
  return found;
}

}  // namespace

bool has_decoder(DType type) {
  return type == DType::q8_g16 || Formats::visit(type, [](auto) {});
}

void decode_row(DType type, const void* row, int64_t n, float* out) {
  if (type == DType::q8_g16) return Q8_G16::decode_row(row, n, out);
  const bool known = Formats::visit(type, [&]<class F>(F) { decode_row<F>(row, n, out); });
  KERF_CHECK(known, "no decoder for " + std::string(name_of(type)));
}

bool is_decodable(DType type) {
  return has_decoder(type) || type == DType::bf16_t16 || type == DType::q15_t16 || visit_interleaved(type, [](auto) {});
}

void decode_row_of(const TensorDesc& d, const void* data, int64_t r, float* out) {
  const auto* bytes = static_cast<const std::byte*>(data);
  const int64_t K = d.cols();
  if (d.dtype == DType::bf16_t16) {
    const auto* values = static_cast<const uint16_t*>(data);
    for (int64_t k = 0; k < K; ++k) out[k] = bf16_to_float(values[BF16_T16::index(r, k, K)]);
    return;
  }
  if (d.dtype == DType::q15_t16) return decode_q15(bytes, K, r, out);
  const bool interleaved = visit_interleaved(d.dtype, [&]<class F>(F) {
    constexpr int kValues = info(F::dtype).block_values;
    const int64_t blocks = K / kValues;
    const std::byte* tile = bytes + r / kTileRows * Interleaved<F>::tile_bytes(blocks);
    for (int64_t b = 0; b < blocks; ++b) {
      const auto block = Interleaved<F>::block(tile, blocks, b, static_cast<int>(r % kTileRows));
      decode_row<F>(&block, kValues, out + b * kValues);
    }
  });
  if (!interleaved) decode_row(d.dtype, bytes + r * d.row_bytes(), K, out);
}

void interleave(const TensorDesc& d, const void* rows, std::byte* out) {
  const bool known = AffineFormats::visit(d.dtype, [&]<class F>(F) {
    const int64_t blocks = d.cols() / info(F::dtype).block_values;
    const auto* block = static_cast<const typename F::Block*>(rows);
    std::memset(out, 0, static_cast<size_t>((d.rows() + kTileRows - 1) / kTileRows * Interleaved<F>::tile_bytes(blocks)));
    for (int64_t r = 0; r < d.rows(); ++r)
      for (int64_t b = 0; b < blocks; ++b)
        Interleaved<F>::put(*block++, out + r / kTileRows * Interleaved<F>::tile_bytes(blocks), blocks, b, static_cast<int>(r % kTileRows));
  });
  KERF_CHECK(known, "no interleaved form of " + std::string(name_of(d.dtype)));
}

}  // namespace kerf::quant
