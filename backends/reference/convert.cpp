// convert: x in another dtype. To f32: the format's values. From f32: the nearest f16 or bf16 (ties to even), or the
// format's own rule for activations. From a weight's format to its interleaved form: the same bytes in another order.
#include <algorithm>
#include <cstring>

#include "backends/reference/decode.h"
#include "core/half.h"
#include "core/threadpool.h"
#include "quant/bf16_t16.h"
#include "quant/q15_t16.h"
#include "quant/q8_g16.h"

namespace kerf::reference {
namespace {

/// Row r of 15-bit tiles.
void encode_q15(const std::vector<float>& row, int64_t r, std::byte* out) {
  using quant::Q15_T16;
  const auto K = static_cast<int64_t>(row.size());
  Q15_T16::Code codes[Q15_T16::kGroup];
  for (int64_t first = 0; first < K; first += Q15_T16::kGroup) {
    const int64_t n = std::min(Q15_T16::kGroup, K - first);
    const float step = Q15_T16::encode_group(row.data() + first, n, codes);
    for (int64_t i = 0; i < n; ++i) {
      std::byte* at = out + Q15_T16::code_at(r, first + i, K);
      at[0] = static_cast<std::byte>(codes[i].hi), at[Q15_T16::kTileBytes] = static_cast<std::byte>(codes[i].lo);
      std::memcpy(out + Q15_T16::step_at(r, first + i, K), &step, 4);
    }
  }
}

void run(const Problem& p, const Call& call) {
  const auto &x = call.in[0], &out = call.out[0];
  const DType to = std::get<Convert>(p.op).to;
  const int64_t K = x.desc.cols();
  if (to == interleaved(x.desc.dtype)) return quant::interleave(x.desc, x.data, out.as<std::byte>());
  if (info(to).tile_rows > 1) std::memset(out.data, 0, static_cast<size_t>(out.desc.bytes()));  // the last tile may have rows that x lacks
  call.pool.parallel_for(x.desc.rows(), [&](int64_t r) {
    const auto row = decoded(x, r);
    if (to == DType::f32) std::copy(row.begin(), row.end(), out.row<float>(r));
    if (to == DType::f16) std::transform(row.begin(), row.end(), out.row<uint16_t>(r), float_to_half);
    if (to == DType::bf16) std::transform(row.begin(), row.end(), out.row<uint16_t>(r), float_to_bf16);
    if (to == DType::q8_g16) quant::Q8_G16::encode_row(row.data(), K, out.row<std::byte>(r));
    if (to == DType::q15_t16) encode_q15(row, r, out.as<std::byte>());
    if (to == DType::bf16_t16)
      for (int64_t k = 0; k < K; ++k) out.as<uint16_t>()[quant::BF16_T16::index(r, k, K)] = float_to_bf16(row[k]);
  });
}

Support accepts(const Problem& p) {
  const DType from = p.in[0].dtype, to = std::get<Convert>(p.op).to;
  if (auto s = require(decodable(from), "the source format has no decoder"); !s) return s;
  if (to == DType::f32 || to == DType::f16 || to == DType::bf16 || to == interleaved(from)) return {};
  const bool known = to == DType::q8_g16 || to == DType::bf16_t16 || to == DType::q15_t16;
  return require(from == DType::f32 && known, "only f32 is converted to q8_g16, bf16_t16 or q15_t16, and a weight to its own interleaved form");
}

}  // namespace

void convert(Registry::Adder registry) {
  registry.add({.op = Convert::name, .note = "the definition of each format, one row at a time", .accepts = accepts, .run = run});
}

}  // namespace kerf::reference
