#include "backends/cpu/convert.h"

#include <variant>

#include <algorithm>

#include "backends/cpu/simd_loop.h"
#include "quant/bf16_t16.h"
#include "quant/interleaved.h"

namespace kerf::cpu {

void run_encode(const Call& call, EncodeRowFn encode) {
  const TensorView &x = call.in[0], &y = call.out[0];
  for_each_rows(call.pool, x.desc.rows(), 2 * x.desc.cols(), [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) encode(x.row<const float>(r), x.desc.cols(), y.row<void>(r));
  });
}

Support accepts_encode(const Problem& p) {
  if (auto s = require(p.in[0].dtype == DType::f32, "the input is not f32"); !s) return s;
  if (auto s = require(p.out[0].dtype == DType::q8_g16, "the output is not q8_g16"); !s) return s;
  return require(p.in[0].cols() % 32 == 0, "rows are no multiple of 32");
}

void run_interleave(const Call& call, InterleaveTileFn tile) {
  const TensorDesc& d = call.in[0].desc;
  const InterleaveArgs a{
      .rows = call.in[0].as<const std::byte>(), .tiles = call.out[0].as<std::byte>(), .N = d.rows(), .blocks = d.cols() / info(d.dtype).block_values};
  call.pool.parallel_for((a.N + quant::kTileRows - 1) / quant::kTileRows, [&](int64_t i) { tile(a, i); });
}

Support accepts_interleave(const Problem& p) {
  const auto to = interleaved(p.in[0].dtype);
  if (auto s = require(to.has_value(), "the format has no interleaved form"); !s) return s;
  return require(std::get<Convert>(p.op).to == *to, "the output is not the input's interleaved form");
}

void run_encode_tiles(const Call& call, EncodeTileFn encode) {
  constexpr int64_t kRows = quant::BF16_T16::kRows, kCols = quant::BF16_T16::kCols, kTileBytes = 2 * kRows * kCols, kTiles = 16;
  const TensorView &x = call.in[0], &y = call.out[0];
  const int64_t rows = x.desc.rows(), K = x.desc.cols(), tiles = K / kCols, parts = (tiles + kTiles - 1) / kTiles;
  call.pool.parallel_for((rows + kRows - 1) / kRows * parts, [&](int64_t i) {
    const int64_t row = i / parts * kRows, first = i % parts * kTiles;
    for (int64_t tile = first; tile < std::min(first + kTiles, tiles); ++tile)
      encode(x.row<const float>(row) + tile * kCols, K, static_cast<int>(std::min(kRows, rows - row)),
             y.as<std::byte>() + (i / parts * tiles + tile) * kTileBytes);
  });
}

Support accepts_encode_tiles(const Problem& p) {
  if (auto s = require(p.in[0].dtype == DType::f32, "the input is not f32"); !s) return s;
  if (auto s = require(p.out[0].dtype == DType::bf16_t16, "the output is not bf16_t16"); !s) return s;
  return require(p.in[0].cols() % quant::BF16_T16::kCols == 0, "rows are no multiple of 32");
}

}  // namespace kerf::cpu
