// convert: x in another dtype. To f32: the format's values. From f32: the nearest f16 or bf16 (ties to even), or the
// format's own rule for activations.
#include <algorithm>

#include "backends/reference/decode.h"
#include "core/half.h"
#include "core/threadpool.h"
#include "quant/q8_g16.h"

namespace kerf::reference {
namespace {

void run(const Problem& p, const Call& call) {
  const auto &x = call.in[0], &out = call.out[0];
  const DType to = std::get<Convert>(p.op).to;
  call.pool.parallel_for(x.desc.rows(), [&](int64_t r) {
    const auto row = decoded(x, r);
    if (to == DType::f32) std::copy(row.begin(), row.end(), out.row<float>(r));
    if (to == DType::f16) std::transform(row.begin(), row.end(), out.row<uint16_t>(r), float_to_half);
    if (to == DType::bf16) std::transform(row.begin(), row.end(), out.row<uint16_t>(r), float_to_bf16);
    if (to == DType::q8_g16) quant::Q8_G16::encode_row(row.data(), x.desc.cols(), out.row<std::byte>(r));
  });
}

Support accepts(const Problem& p) {
  const DType from = p.in[0].dtype, to = std::get<Convert>(p.op).to;
  if (auto s = require(decodable(from), "the source format has no decoder"); !s) return s;
  if (to == DType::f32) return {};
  return require(from == DType::f32 && (to == DType::f16 || to == DType::bf16 || to == DType::q8_g16),
                 "only f32 is converted to f16, bf16 or q8_g16");
}

}  // namespace

void convert(Registry::Adder registry) {
  registry.add({.op = Convert::name, .note = "the definition of each format, one row at a time", .accepts = accepts, .run = run});
}

}  // namespace kerf::reference
