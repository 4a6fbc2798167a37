// 4_tile: many tokens, on matrix units (backends/gpu/kernels/tile16.h).
#include "backends/gpu/kernels/tile16.h"

namespace kerf::KERF_GPU_NS {
namespace {

using namespace tile16;

/// A block per row of x, padded rows included.
template <class Bits, int parts>
KERF_GLOBAL(kThreads)
round_rows(TileArgs a) {
  KERF_SHARED(float, part, [kThreads / kLanes]);
  const int64_t t = block_x();
  round_row<Bits, parts>(a, t, t < a.p.T ? reinterpret_cast<const float*>(a.p.x + t * a.p.x_bytes) : nullptr, part);
}

template <class F, int tokens>
KERF_GLOBAL(kThreads)
multiply_tiles(TileArgs a) {
  using Here = Memory<kParts<F>, tokens>;
  KERF_SHARED(Here, memory, [1]);
  const int64_t t0 = static_cast<int64_t>(block_y()) * tokens, n0 = static_cast<int64_t>(block_x()) * kRows;
  sum_tiles<F, tokens>(a, a.p, t0, n0, memory[0]);
  write_tile<kThreads, tokens, kRows>(a.p, memory[0].sums, t0, n0, [&](float sum, int64_t t, int64_t n) {
    sum *= a.back[t];
    return fabsf(sum) <= 0x1.fffffep127f ? sum : dot_f32<F>(a.p, t, n);
  });
}

/// For activations in `parts` of sixteen bits.
size_t scratch(const Problem& p, int parts) {
  const int64_t T = padded(p.in[0].rows(), tile_for(p.in[0].rows())), K = padded(p.in[0].cols(), kStep);
  return static_cast<size_t>(T * K * 2 * parts + T * 4);
}

template <class F>
void round_activations(const Call& call, const TileArgs& a) {
  launch(call, {.kernel = "round_rows", .blocks = {static_cast<unsigned>(a.padded_T)}, .threads = kThreads}, round_rows<BitsOf<F>, kParts<F>>, a);
}

void run(const Problem& problem, const Call& call) {
  bool rounded = false;  // all weights of a call want the same
  for_each_product(problem, call, [&](const Product& p, DType weights) {
    const int tile = tile_for(p.T);
    TileArgs a{.p = p, .rounded = nullptr, .back = nullptr, .padded_T = padded(p.T, tile), .padded_K = padded(p.K, kStep)};
    a.back = reinterpret_cast<float*>(call.scratch.data());
    a.rounded = reinterpret_cast<uint16_t*>(a.back + a.padded_T);
    quant::Formats::visit(weights, [&]<class F>(F) {
      if constexpr (F::dtype != DType::f32) {
        if (!rounded) round_activations<F>(call, a);
        rounded = true;
        with_tile(tile, [&]<int tokens>(std::integral_constant<int, tokens>) {
          launch(call, {.kernel = "multiply_tiles", .blocks = {blocks_for(p.N, kRows), blocks_for(p.T, tokens)}, .threads = kThreads},
                 multiply_tiles<F, tokens>, a);
        });
      }
    });
  });
}

}  // namespace

void matmul_4_tile(Registry::Adder registry) {
  add_products(registry, {.variant = "4_tile",
                          .improves = "3_tile_f32",
                          .note = "matrix units: 16 x 16 products of f16 with sums in f32, on weights decoded once for up to 64 tokens",
                          .preference = 5,
                          .unit = 0x1p-11,
                          .accepts = [](const Problem& p) { return takes_tiles(p, is_affine); },
                          .scratch_bytes = [](const Problem& p) { return scratch(p, 1); },
                          .run = run});
  add_products(registry, {.variant = "4_tile_f16",
                          .improves = "3_tile_f32",
                          .note = "matrix units: weights of f16 are exact, activations are two f16 with 22 bits together",
                          .preference = 5,
                          .unit = 0x1p-21,
                          .accepts = [](const Problem& p) { return takes_tiles(p, [](DType t) { return t == DType::f16; }); },
                          .scratch_bytes = [](const Problem& p) { return scratch(p, 2); },
                          .run = run});
  add_products(registry, {.variant = "4_tile_bf16",
                          .improves = "3_tile_f32",
                          .note = "matrix units: weights of bf16 are exact, activations are two bf16 with 16 bits together",
                          .preference = 5,
                          .unit = 0x1p-16,
                          .accepts = [](const Problem& p) { return takes_tiles(p, [](DType t) { return t == DType::bf16; }); },
                          .scratch_bytes = [](const Problem& p) { return scratch(p, 2); },
                          .run = run});
}

}  // namespace kerf::KERF_GPU_NS
