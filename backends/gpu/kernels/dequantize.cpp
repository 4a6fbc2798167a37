// A whole tensor as floats: weights of any format to f32, f16 or bf16 (Convert). Reading 0.3 to 2 bytes and writing 2 or 4 for a few
// operations a value, it can only be as fast as memory.
#include "backends/gpu/kernels/decode.h"

namespace kerf::KERF_GPU_NS {
namespace {

constexpr int kThreads = 128;

struct DequantizeArgs {
  const std::byte* x;  // [rows, cols]
  std::byte* y;        // as x
  int64_t rows, cols, row_bytes;
};

// What is written.
struct ToFloat {
  using Type = float;
  KERF_DEVICE static float round(float x) { return x; }
};
struct ToHalf {
  using Type = uint16_t;
  KERF_DEVICE static uint16_t round(float x) { return to_half(x); }
};
struct ToBrain {
  using Type = uint16_t;
  KERF_DEVICE static uint16_t round(float x) { return float_to_bf16(x); }
};

/// 1_group: a thread decodes a piece.
template <class F, class To>
KERF_GLOBAL(kThreads)
decode_groups(DequantizeArgs a) {
  const int64_t i = static_cast<int64_t>(block_x()) * kThreads + thread_x(), pieces = a.cols / kPiece<F>;
  if (i >= a.rows * pieces) return;
  const int64_t row = i / pieces, piece = i % pieces;
  const std::byte* x = a.x + row * a.row_bytes;
  auto* y = reinterpret_cast<typename To::Type*>(a.y) + row * a.cols + piece * kPiece<F>;
  decode_piece<F>(x, piece, [&](int j, float value) { y[j] = To::round(value); });
}

/// 2_lanes: a thread writes sixteen bytes, so that a warp writes 512 consecutive ones, and decodes a half or a quarter of a group for
/// them: the group's scale is computed by the threads that share it, which costs less than stores 32 bytes apart.
template <class To>
constexpr int kValues = 16 / static_cast<int>(sizeof(typename To::Type));

template <class F, class To>
KERF_GLOBAL(kThreads)
decode_lanes(DequantizeArgs a) {
  constexpr int n = kValues<To>, kParts = 16 / n;
  const int64_t i = static_cast<int64_t>(block_x()) * kThreads + thread_x(), pieces = a.cols / n;
  if (i >= a.rows * pieces) return;
  const int64_t row = i / pieces, piece = i % pieces;
  const std::byte* x = a.x + row * a.row_bytes;
  struct alignas(16) Piece {
    typename To::Type v[n];
  } y;
  if constexpr (quant::AffineFormat<F>) {
    Group g = group_of_row<F>(x, piece / kParts);
    // Words part * n/4 ... come first. Compared, not indexed: an index would put the group into local memory.
    const auto part = static_cast<int>(piece % kParts);
    KERF_UNROLL
    for (int p = 1; p < kParts; ++p) {
      KERF_UNROLL
      for (int w = 0; w < n / 4; ++w)
        if (part == p) g.code[w] = g.code[p * n / 4 + w];
    }
    KERF_UNROLL
    for (int j = 0; j < n; ++j) y.v[j] = To::round(value_of<F>(g, j));
  } else {
    const auto* from = reinterpret_cast<const typename F::Block*>(x) + piece * n;
    KERF_UNROLL
    for (int j = 0; j < n; ++j) y.v[j] = To::round(float_of<F>(from[j]));
  }
  reinterpret_cast<Piece*>(a.y)[row * pieces + piece] = y;
}

/// launch(args, format of x, what is written)
template <class Fn>
void with_types(const Call& call, Fn&& launch) {
  const TensorView &x = call.in[0], &y = call.out[0];
  const DequantizeArgs a{
      .x = x.as<const std::byte>(), .y = y.as<std::byte>(), .rows = x.desc.rows(), .cols = x.desc.cols(), .row_bytes = x.desc.row_bytes()};
  quant::Formats::visit(x.desc.dtype, [&]<class F>(F f) {
    if (y.desc.dtype == DType::f32) return launch(a, f, ToFloat{});
    if constexpr (F::dtype != DType::f32) return y.desc.dtype == DType::f16 ? launch(a, f, ToHalf{}) : launch(a, f, ToBrain{});
  });
}

void run_groups(const Problem&, const Call& call) {
  with_types(call, [&]<class F, class To>(const DequantizeArgs& a, F, To) {
    launch(call, {.kernel = "decode_groups", .blocks = {blocks_for(a.rows * a.cols / kPiece<F>, kThreads)}, .threads = kThreads},
           decode_groups<F, To>, a);
  });
}
void run_lanes(const Problem&, const Call& call) {
  with_types(call, [&]<class F, class To>(const DequantizeArgs& a, F, To) {
    launch(call, {.kernel = "decode_lanes", .blocks = {blocks_for(a.rows * a.cols / kValues<To>, kThreads)}, .threads = kThreads},
           decode_lanes<F, To>, a);
  });
}

Support fits(const Problem& p) {
  const DType from = p.in[0].dtype, to = p.out[0].dtype;
  if (!is_decodable(from)) return {"the format has no decoder here"};
  if (to != DType::f32 && from == DType::f32) return {"f32 is rounded, not decoded"};
  return require(to == DType::f32 || to == DType::f16 || to == DType::bf16, "writes f32, f16 and bf16");
}

}  // namespace

void dequantize(Registry::Adder registry) {
  registry.add({.op = Convert::name,
                .variant = "decode.1_group",
                .note = "a thread per sixteen values of a block, or per float",
                .preference = 1,
                .accepts = fits,
                .run = run_groups});
  registry.add({.op = Convert::name,
                .variant = "decode.2_lanes",
                .improves = "decode.1_group",
                .note = "a thread per sixteen bytes of the output: what a warp writes is 512 consecutive bytes in one instruction",
                .preference = 2,
                .accepts = [](const Problem& p) { return p.in[0].cols() % 8 == 0 ? fits(p) : Support{"rows are no multiple of 8 values"}; },
                .run = run_lanes});
}

}  // namespace kerf::KERF_GPU_NS
