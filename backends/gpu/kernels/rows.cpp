// Rows of a table of any format, as f32.
#include "backends/gpu/kernels/decode.h"

namespace kerf::KERF_GPU_NS {
namespace {

constexpr int kThreads = 128;

struct RowsArgs {
  const std::byte* table;
  const int32_t* ids;
  float* y;  // [rows, cols]
  int64_t rows, cols, row_bytes;
};

template <class F>
KERF_GLOBAL(kThreads)
decode_pieces(RowsArgs a) {
  const int64_t i = static_cast<int64_t>(block_x()) * kThreads + thread_x(), pieces = a.cols / kPiece<F>;
  if (i >= a.rows * pieces) return;
  const int64_t t = i / pieces, piece = i % pieces;
  const std::byte* row = a.table + a.ids[t] * a.row_bytes;
  float* y = a.y + t * a.cols + piece * kPiece<F>;
  decode_piece<F>(row, piece, [&](int j, float value) { y[j] = value; });
}

void run(const Problem&, const Call& call) {
  const TensorView &table = call.in[0], &ids = call.in[1];
  const RowsArgs a{.table = table.as<const std::byte>(),
                   .ids = ids.as<const int32_t>(),
                   .y = call.out[0].as<float>(),
                   .rows = ids.desc.cols(),
                   .cols = table.desc.cols(),
                   .row_bytes = table.desc.row_bytes()};
  quant::Formats::visit(table.desc.dtype, [&]<class F>(F) {
    launch(call, {.kernel = "decode_pieces", .blocks = {blocks_for(a.rows * a.cols / kPiece<F>, kThreads)}, .threads = kThreads}, decode_pieces<F>,
           a);
  });
}

}  // namespace

void rows(Registry::Adder registry) {
  registry.add({.op = Rows::name,
                .variant = "1_group",
                .note = "a thread per sixteen values of a block, or per float",
                .preference = 1,
                .accepts = [](const Problem& p) { return require(is_decodable(p.in[0].dtype), "the format has no decoder here"); },
                .run = run});
}

}  // namespace kerf::KERF_GPU_NS
