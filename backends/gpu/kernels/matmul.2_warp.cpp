// 2_warp: a warp per two rows of the weight, up to eight tokens at a time. The lanes read consecutive pieces of a row, decoded
// sixteen values at a time; each value meets all tokens. For weights of floats this is how a few tokens are computed.
#include "backends/gpu/kernels/product.h"
#include "backends/gpu/kernels/unpack.h"

namespace kerf::KERF_GPU_NS {
namespace {

constexpr int kWarps = 4, kRows = 2;

/// Piece i of a row: n values. Floats: 16 bytes, or one value where rows are no multiple of that.
template <class F, int n>
KERF_DEVICE void decode(const std::byte* row, int64_t i, float (&v)[n]) {
  if constexpr (quant::AffineFormat<F>) {
    const Group g = group_of_row<F>(row, i);
    KERF_UNROLL
    for (int j = 0; j < n; ++j) v[j] = value_of<F>(g, j);
  } else if constexpr (n == 1) {
    v[0] = float_of<F>(reinterpret_cast<const typename F::Block*>(row)[i]);
  } else {
    struct alignas(16) Piece {
      typename F::Block b[n];
    };
    const auto piece = load<Piece>(row + i * 16);
    KERF_UNROLL
    for (int j = 0; j < n; ++j) v[j] = float_of<F>(piece.b[j]);
  }
}

/// Blocks for a multiprocessor; 0: as the compiler likes, who for these would spill (sm_90).
template <class F, int tokens>
[[maybe_unused]] constexpr int kBlocksAtOnce = tokens == 4 && quant::AffineFormat<F> ? 5 : 0;

template <class F, int n, int tokens>
KERF_GLOBAL(kWarps* kLanes, (kBlocksAtOnce<F, tokens>))
dot_warp(Product p) {
  const int64_t first = (static_cast<int64_t>(block_x()) * kWarps + warp()) * kRows, t0 = static_cast<int64_t>(block_y()) * tokens;
  if (first >= p.N) return;
  float sum[kRows][tokens] = {};
  for (int64_t i = lane(); i < p.K / n; i += kLanes) {
    float w[kRows][n];
    KERF_UNROLL
    for (int r = 0; r < kRows; ++r) decode<F>(p.w + (first + r < p.N ? first + r : first) * p.w_bytes, i, w[r]);
    KERF_UNROLL
    for (int t = 0; t < tokens; ++t) {
      float x[n];
      const std::byte* row = p.x + (t0 + t < p.T ? t0 + t : t0) * p.x_bytes;
      KERF_UNROLL
      for (int j = 0; j < n; j += 4) {
        if constexpr (n == 1)
          decode<quant::F32>(row, i, x);
        else
          decode<quant::F32>(row, i * (n / 4) + j / 4, reinterpret_cast<float(&)[4]>(x[j]));
      }
      KERF_UNROLL
      for (int r = 0; r < kRows; ++r) {
        KERF_UNROLL
        for (int j = 0; j < n; ++j) sum[r][t] = fmaf(x[j], w[r][j], sum[r][t]);
      }
    }
  }
  KERF_UNROLL
  for (int r = 0; r < kRows; ++r) {
    KERF_UNROLL
    for (int t = 0; t < tokens; ++t) {
      const float total = warp_sum(sum[r][t]);
      if (lane() == 0 && first + r < p.N && t0 + t < p.T) write(p, t0 + t, first + r, total);
    }
  }
}

template <class F, int n>
void launch_warps(const Call& call, const Product& p) {
  const auto go = [&](auto kernel, int64_t tokens) {
    launch(call,
           {.kernel = "dot_warp",
            .blocks = {blocks_for(p.N, kWarps * kRows), blocks_for(p.T, tokens)},
            .threads = static_cast<unsigned>(kWarps * kLanes)},
           kernel, p);
  };
  if (p.T == 1)
    go(dot_warp<F, n, 1>, 1);
  else if (p.T <= 4)
    go(dot_warp<F, n, 4>, 4);
  else
    go(dot_warp<F, n, 8>, 8);
}

void run(const Problem& problem, const Call& call) {
  for_each_product(problem, call, [&](const Product& p, DType weights) {
    quant::Formats::visit(weights, [&]<class F>(F) {
      if constexpr (quant::AffineFormat<F>) {
        launch_warps<F, 16>(call, p);
      } else {
        constexpr int n = 16 / static_cast<int>(sizeof(typename F::Block));
        p.K % n == 0 ? launch_warps<F, n>(call, p) : launch_warps<F, 1>(call, p);
      }
    });
  });
}

}  // namespace

void matmul_2_warp(Registry::Adder registry) {
  add_products(registry,
               {.variant = "2_warp",
                .improves = "1_plain",
                .note = "a warp per two rows: its loads are consecutive bytes, a weight is decoded once for up to eight tokens, a block's scale "
                        "once for sixteen values",
                .preference = 2,
                .accepts =
                    [](const Problem& p) {
                      if (p.in[0].dtype != DType::f32) return Support{"reads f32 activations"};
                      if (p.in[0].rows() > 8 * 65535) return Support{"more tokens than a grid takes"};
                      return require(all_weights(p, is_decodable), "the weights' format has no decoder here");
                    },
                .run = run});
}

}  // namespace kerf::KERF_GPU_NS
