// 3_tile_f32: many tokens in f32, for weights of f32 and for GPUs without matrix units. A block keeps a tile of activations and one
// of decoded weights in shared memory, where each value is read by many threads (Volkov & Demmel 2008); a thread has 4 x 8 sums.
#include "backends/gpu/kernels/product.h"
#include "backends/gpu/kernels/unpack.h"

namespace kerf::KERF_GPU_NS {
namespace {

constexpr int kTokens = 64, kRows = 64, kStep = 16, kThreads = 128;
constexpr int kTokensOf = 4, kRowsOf = 8;  // of a thread
constexpr int kStride = kRows + 4;         // rows for two groups of a step's values land in different banks

struct Tiles {
  float x[kStep][kStride], w[kStep][kStride];  // k first: a thread reads its tokens, and its rows, as consecutive values
};

/// A step, or in the end the sums.
union Memory {
  Tiles step;
  float sums[kTokens][kStride];
};

KERF_DEVICE void store_x(Tiles& s, const Product& p, int64_t t0, int64_t k0) {
  KERF_UNROLL
  for (int j = 0; j < kTokens * kStep / kThreads; ++j) {
    const int i = static_cast<int>(thread_x()) + j * kThreads;
    const int k = i % kStep, t = i / kStep;
    const bool inside = t0 + t < p.T && k0 + k < p.K;
    s.x[k][t] = inside ? reinterpret_cast<const float*>(p.x + (t0 + t) * p.x_bytes)[k0 + k] : 0.f;
  }
}
/// Half a block's threads decode a row's sixteen values each, or all of them one float at a time.
template <class F>
KERF_DEVICE void store_w(Tiles& s, const Product& p, int64_t n0, int64_t k0) {
  if constexpr (quant::AffineFormat<F>) {
    const int n = static_cast<int>(thread_x());
    if (n >= kRows) return;
    const Group g = group_of_row<F>(p.w + (n0 + n < p.N ? n0 + n : p.N - 1) * p.w_bytes, k0 / 16);
    KERF_UNROLL
    for (int k = 0; k < kStep; ++k) s.w[k][n] = value_of<F>(g, k);
  } else {
    KERF_UNROLL
    for (int j = 0; j < kRows * kStep / kThreads; ++j) {
      const int i = static_cast<int>(thread_x()) + j * kThreads;
      const int k = i % kStep, n = i / kStep;
      const bool inside = n0 + n < p.N && k0 + k < p.K;
      s.w[k][n] = inside ? float_of<F>(reinterpret_cast<const typename F::Block*>(p.w + (n0 + n) * p.w_bytes)[k0 + k]) : 0.f;
    }
  }
}

/// Blocks for a multiprocessor; 0: as the compiler likes, who for floats would spill (sm_90).
template <class F>
[[maybe_unused]] constexpr int kBlocksAtOnce = quant::AffineFormat<F> ? 0 : 3;

template <class F>
KERF_GLOBAL(kThreads, kBlocksAtOnce<F>)
multiply_f32(Product p) {
  KERF_SHARED(Memory, memory, [1]);
  Tiles& s = memory[0].step;
  const int64_t t0 = static_cast<int64_t>(block_y()) * kTokens, n0 = static_cast<int64_t>(block_x()) * kRows;
  const int mine_n = static_cast<int>(thread_x()) % (kRows / kRowsOf) * 4, mine_t = static_cast<int>(thread_x()) / (kRows / kRowsOf) * kTokensOf;
  float sum[kTokensOf][kRowsOf] = {};
  for (int64_t k0 = 0; k0 < p.K; k0 += kStep) {
    store_x(s, p, t0, k0);
    store_w<F>(s, p, n0, k0);
    block_sync();
    KERF_UNROLL
    for (int k = 0; k < kStep; ++k) {
      // Rows 4i .. 4i+3 of each half of the tile, so that eight threads read 128 consecutive bytes.
      const auto x = load<Floats4>(&s.x[k][mine_t]), low = load<Floats4>(&s.w[k][mine_n]), high = load<Floats4>(&s.w[k][kRows / 2 + mine_n]);
      KERF_UNROLL
      for (int t = 0; t < kTokensOf; ++t) {
        KERF_UNROLL
        for (int n = 0; n < 4; ++n) {
          sum[t][n] = fmaf(x.v[t], low.v[n], sum[t][n]);
          sum[t][4 + n] = fmaf(x.v[t], high.v[n], sum[t][4 + n]);
        }
      }
    }
    block_sync();
  }
  KERF_UNROLL
  for (int t = 0; t < kTokensOf; ++t) {
    KERF_UNROLL
    for (int n = 0; n < kRowsOf; ++n) {
      memory[0].sums[mine_t + t][mine_n + (n < 4 ? n : kRows / 2 + n - 4)] = sum[t][n];
    }
  }
  write_tile<kThreads, kTokens, kRows>(p, memory[0].sums, t0, n0, [](float y, int64_t, int64_t) { return y; });
}

void run(const Problem& problem, const Call& call) {
  for_each_product(problem, call, [&](const Product& p, DType weights) {
    quant::Formats::visit(weights, [&]<class F>(F) {
      launch(call, {.kernel = "multiply_f32", .blocks = {blocks_for(p.N, kRows), blocks_for(p.T, kTokens)}, .threads = kThreads}, multiply_f32<F>, p);
    });
  });
}

}  // namespace

void matmul_3_tile_f32(Registry::Adder registry) {
  add_products(registry, {.variant = "3_tile_f32",
                          .improves = "2_warp",
                          .note = "tiles in shared memory: a weight is decoded once for 64 tokens, and an activation read once for 64 rows",
                          .preference = 4,
                          .accepts =
                              [](const Problem& p) {
                                if (p.in[0].dtype != DType::f32) return Support{"reads f32 activations"};
                                if (p.in[0].rows() <= 8) return Support{"for more than 8 tokens"};
                                if (p.in[0].rows() > kTokens * 65535) return Support{"more tokens than a grid takes"};
                                return require(all_weights(p, is_decodable), "the weights' format has no decoder here");
                              },
                          .run = run});
}

}  // namespace kerf::KERF_GPU_NS
