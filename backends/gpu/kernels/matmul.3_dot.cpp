// 3_dot: quantized weights and activations in q8_g16. Four products of bytes are one instruction; a group of sixteen is four of them
// and one scaling:  d * (scale * (sum code*q - offset * sum q) - min * sum q).  One to eight tokens: how text is generated.
#include "backends/gpu/kernels/product.h"
#include "backends/gpu/kernels/unpack.h"

namespace kerf::KERF_GPU_NS {
namespace {

constexpr int kWarps = 4;

/// A weight among those that one launch multiplies; `up` if it is a gate: then its rows and those of `up` come in turn, so that a warp
/// has both.
struct Part {
  const std::byte *w, *up;
  const float* other;
  float* y;
  int64_t N, other_step;
  unsigned first_block;
  int split;  // warps that share rows: 1, 2 or 4
};
constexpr int kParts = 4;
struct DotArgs {
  Product p;  // what is the same for all parts
  Part part[kParts];
};

/// The part that the block works on. Compared, not indexed: for an index the compiler would copy all parts to local memory.
KERF_DEVICE Part part_of(const DotArgs& a) {
  Part mine = a.part[0];
  KERF_UNROLL
  for (int i = 1; i < kParts; ++i)
    if (block_x() >= a.part[i].first_block) mine = a.part[i];
  return mine;
}
KERF_DEVICE int64_t rows_of(const Part& part) { return part.up ? 2 * part.N : part.N; }
KERF_DEVICE const std::byte* row_of(const Part& part, int64_t row, int64_t row_bytes) {
  const int64_t r = row < rows_of(part) ? row : 0;  // a warp's rows behind the last are computed and not written
  if (!part.up) return part.w + r * row_bytes;
  return (r % 2 == 0 ? part.w : part.up) + r / 2 * row_bytes;
}

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
  KERF_SHARED(float, sums, [kWarps][kRows * tokens]);
  const Part part = part_of(a);
  const Product& p = a.p;
  const int mine = static_cast<int>(warp()) % part.split, at_once = kWarps / part.split;
  const int64_t begin = static_cast<int64_t>(block_x() - part.first_block) * at_once * kRows;
  const int64_t first = begin + static_cast<int>(warp()) / part.split * kRows, t0 = static_cast<int64_t>(block_y()) * tokens;
  float sum[kRows][tokens] = {};
  for (int i = mine * kLanes + static_cast<int>(lane()), n = static_cast<int>(p.K / 16); i < n; i += part.split * kLanes) {
    Group w[kRows];
    KERF_UNROLL
    for (int r = 0; r < kRows; ++r) w[r] = group_of_row<F>(row_of(part, first + r, p.w_bytes), i);
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
      if (lane() == 0) sums[warp()][r * tokens + t] = total;
    }
  }
  block_sync();
  const int each = part.up ? 2 : 1;  // sums that make one output
  const int i = static_cast<int>(thread_x()), row = i / tokens * each, t = i % tokens;
  if (row >= at_once * kRows || begin + row >= rows_of(part) || t0 + t >= p.T) return;
  const auto total = [&](int r) {
    float all = 0;
    for (int w = 0; w < part.split; ++w) all += sums[r / kRows * part.split + w][r % kRows * tokens + t];
    return all;
  };
  const int64_t n = (begin + row) / each, at = (t0 + t) * part.N + n;
  float y = total(row);
  if (part.up) y = silu(y) * total(row + 1);
  if (part.other) y += part.other[(t0 + t) * part.other_step + n];
  part.y[at] = y;
}

/// Short matrices have too few rows to keep all multiprocessors busy, unless several warps share one. Follows from the weight's shape
/// alone, so that a token's bits do not depend on the batch. A warp takes 512 values of a row at a time.
int split_of(int64_t N, int64_t K) {
  if (N >= 16384) return 1;
  return K >= 2048 ? 4 : K >= 1024 ? 2 : 1;
}

/// Weights of one type, up to kParts of them, that are multiplied in one launch.
struct Batch {
  DType weights{};
  DotArgs args{};
  int count = 0;
};

void add_part(Batch& b, const Product& p, DType weights) {
  b.weights = weights;
  b.args.p = p;
  b.args.part[b.count++] = {.w = p.w,
                            .up = nullptr,
                            .other = p.finish == Finish::add ? p.other : nullptr,
                            .y = p.y,
                            .N = p.N,
                            .other_step = p.other_step,
                            .first_block = 0,
                            .split = split_of(p.N, p.K)};
}

/// The blocks of each part behind those of the one before.
unsigned lay_out(Batch& b, int rows) {
  unsigned blocks = 0;
  for (int i = 0; i < kParts; ++i) {
    Part& part = b.args.part[i];
    part.first_block = i < b.count ? blocks : ~0u;
    if (i < b.count) blocks += blocks_for(part.up ? 2 * part.N : part.N, kWarps / part.split * rows);
  }
  return blocks;
}

template <class F, int tokens>
void launch_dots(const Call& call, Batch b) {
  const unsigned blocks = lay_out(b, kRowsOf<tokens>);
  launch(call, {.kernel = "dot_groups", .blocks = {blocks, blocks_for(b.args.p.T, tokens)}, .threads = static_cast<unsigned>(kWarps * kLanes)},
         dot_groups<F, tokens>, b.args);
}

void launch_batch(const Call& call, Batch& b) {
  const int64_t T = b.args.p.T;
  quant::AffineFormats::visit(b.weights, [&]<class F>(F) {
    if (T == 1)
      launch_dots<F, 1>(call, b);
    else if (T == 2)
      launch_dots<F, 2>(call, b);
    else if (T <= 4)
      launch_dots<F, 4>(call, b);
    else
      launch_dots<F, 8>(call, b);
  });
  b.count = 0;
}

void run(const Problem& problem, const Call& call) {
  Batch batch;
  for_each_product(problem, call, [&](const Product& p, DType weights) {
    if (batch.count > 0 && p.finish == Finish::swiglu && batch.weights == weights) {
      batch.args.part[0].up = p.w;
      return;
    }
    KERF_CHECK(p.finish != Finish::swiglu, "gate and up of two types");
    if (batch.count == kParts || (batch.count > 0 && batch.weights != weights)) launch_batch(call, batch);
    add_part(batch, p, weights);
  });
  launch_batch(call, batch);
}

Support fits(const Problem& p) {
  if (p.in[0].dtype != DType::q8_g16) return {"reads activations in q8_g16"};
  if (p.in[0].rows() > 8 * 65535) return {"more tokens than a grid takes"};
  if (std::holds_alternative<MatMulSwiGlu>(p.op) && p.in[1].dtype != p.in[2].dtype) return {"gate and up are of two types"};
  return require(all_weights(p, is_affine), "the weights are not quantized in an affine format");
}

}  // namespace

void matmul_3_dot(Registry::Adder registry) {
  add_products(registry,
               {.variant = "3_dot",
                .improves = "2_warp",
                .note = "activations of eight bits: four products are one instruction, and sixteen weights are scaled at once instead of being "
                        "decoded; warps share the rows of short matrices, weights of one type a launch",
                .preference = 3,
                .accepts = fits,
                .run = run});
}

}  // namespace kerf::KERF_GPU_NS
