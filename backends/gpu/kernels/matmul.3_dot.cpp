// 3_dot: quantized weights and activations in q8_g16. Four products of bytes are one instruction; a group of sixteen is four of them
// and one scaling:  d * (scale * (sum code*q - offset * sum q) - min * sum q).  One to eight tokens: how text is generated.
#include "backends/gpu/product.h"
#include "backends/gpu/unpack.h"

namespace kerf::KERF_GPU_NS {
namespace {

constexpr int kWarps = 4;

struct DotArgs {
  Product p;
  int split;  // warps that share rows: 1, 2 or 4
};

/// Rows of a warp. One token: four, so that enough loads are on their way; more tokens have work enough with two.
template <int tokens>
constexpr int kRowsOf = tokens == 1 ? 4 : 2;

/// Sixteen activations of a token.
struct Sixteen {
  Words4 q;
  float d, sum;
};
KERF_DEVICE Sixteen activations(const Product& p, int64_t t, int64_t i) {
  const std::byte* row = p.x + t * p.x_bytes;
  const auto* scales = reinterpret_cast<const float*>(row + p.K);
  return {load<Words4>(row + 16 * i), scales[i], scales[p.K / 16 + i]};
}

/// The group's share of a dot product. Codes with an offset of 128 are signed bytes with the sign flipped; others have seven bits.
template <class F>
KERF_DEVICE float share(const Group& w, const Sixteen& x) {
  constexpr bool is_signed = F::kOffset == 128;
  int dot = 0;
  KERF_UNROLL
  for (int i = 0; i < 4; ++i) dot = dot4(is_signed ? w.code[i] ^ 0x80808080u : w.code[i], x.q.w[i], dot);
  float y = static_cast<float>(dot);
  if constexpr (!is_signed && F::kOffset != 0) y -= F::kOffset * x.sum;
  y *= w.scale;
  if constexpr (F::kHasMin) y = fmaf(-w.min, x.sum, y);
  return y;
}

template <class F, int tokens>
KERF_GLOBAL(kWarps* kLanes)
dot_groups(DotArgs a) {
  constexpr int kRows = kRowsOf<tokens>;
  KERF_SHARED(float, part, [kWarps][kRows * tokens]);
  const Product& p = a.p;
  const int mine = static_cast<int>(warp()) % a.split, at_once = kWarps / a.split;
  const int64_t begin = static_cast<int64_t>(block_x()) * at_once * kRows, first = begin + warp() / static_cast<unsigned>(a.split) * kRows;
  const int64_t t0 = static_cast<int64_t>(block_y()) * tokens;
  float sum[kRows][tokens] = {};
  for (int64_t i = mine * kLanes + static_cast<int>(lane()); i < p.K / 16; i += a.split * kLanes) {
    Group w[kRows];
    KERF_UNROLL
    for (int r = 0; r < kRows; ++r) w[r] = group_of_row<F>(p.w + (first + r < p.N ? first + r : p.N - 1) * p.w_bytes, i);
    KERF_UNROLL
    for (int t = 0; t < tokens; ++t) {
      const Sixteen x = activations(p, t0 + t < p.T ? t0 + t : t0, i);
      KERF_UNROLL
      for (int r = 0; r < kRows; ++r) sum[r][t] = fmaf(x.d, share<F>(w[r], x), sum[r][t]);
    }
  }
  KERF_UNROLL
  for (int r = 0; r < kRows; ++r) {
    KERF_UNROLL
    for (int t = 0; t < tokens; ++t) {
      const float total = warp_sum(sum[r][t]);
      if (lane() == 0) part[warp()][r * tokens + t] = total;
    }
  }
  block_sync();
  const int i = static_cast<int>(thread_x()), row = i / tokens, t = i % tokens;
  if (row >= at_once * kRows || begin + row >= p.N || t0 + t >= p.T) return;
  float total = 0;
  for (int w = 0; w < a.split; ++w) total += part[row / kRows * a.split + w][row % kRows * tokens + t];
  write(p, t0 + t, begin + row, total);
}

/// Short matrices have too few rows to keep all multiprocessors busy, unless several warps share one. Follows from N and K alone, so
/// that a token's bits do not depend on the batch. A warp takes 512 values of a row at a time.
int split_of(const Product& p) {
  if (p.N >= 16384) return 1;
  return p.K >= 2048 ? 4 : p.K >= 1024 ? 2 : 1;
}

template <class F>
void launch_dots(const Call& call, const Product& p) {
  const DotArgs a{.p = p, .split = split_of(p)};
  const auto go = [&](auto kernel, int rows, int64_t tokens) {
    launch(call,
           {.kernel = "dot_groups",
            .blocks = {blocks_for(p.N, kWarps / a.split * rows), blocks_for(p.T, tokens)},
            .threads = static_cast<unsigned>(kWarps * kLanes)},
           kernel, a);
  };
  if (p.T == 1)
    go(dot_groups<F, 1>, kRowsOf<1>, 1);
  else if (p.T == 2)
    go(dot_groups<F, 2>, kRowsOf<2>, 2);
  else if (p.T <= 4)
    go(dot_groups<F, 4>, kRowsOf<4>, 4);
  else
    go(dot_groups<F, 8>, kRowsOf<8>, 8);
}

void run(const Problem& problem, const Call& call) {
  for_each_product(problem, call,
                   [&](const Product& p, DType weights) { quant::AffineFormats::visit(weights, [&]<class F>(F) { launch_dots<F>(call, p); }); });
}

}  // namespace

void matmul_3_dot(Registry::Adder registry) {
  add_products(registry,
               {.variant = "3_dot",
                .improves = "2_warp",
                .note = "activations of eight bits: four products are one instruction, and sixteen weights are scaled at once instead of being "
                        "decoded; warps share the rows of short matrices",
                .preference = 3,
                .accepts =
                    [](const Problem& p) {
                      if (p.in[0].dtype != DType::q8_g16) return Support{"reads activations in q8_g16"};
                      if (p.in[0].rows() > 8 * 65535) return Support{"more tokens than a grid takes"};
                      return require(all_weights(p, is_affine), "the weights are not quantized in an affine format");
                    },
                .run = run});
}

}  // namespace kerf::KERF_GPU_NS
