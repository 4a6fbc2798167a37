// int8: q8_g16 activations times q8_0 weights, integer products by oneDNN, read where they lie. oneDNN 2.6 knows one scale
// per row of weights; GGUF has one per 32 weights, and q8_g16 one per 16 activations. So its GEMM only multiplies groups of
// 16 values, eight blocks in one call, and hands over whole numbers:
//
//   y[t][n] = sum_g dx[t][g] * (dw[n][g/2] * sum_i qx[t][g,i] qw[n][g,i])
//
// This is exact to the last bits of an f32 sum, and slow: a product of depth 16 writes four bytes per 32 operations.
// With one scale per row the same library multiplies three to four times as fast, and loses what small values next to a
// large one say: no tolerance relative to sum |x w| holds for that, so it is not a kernel here.
#include <algorithm>

#include "backends/onednn/library.h"
#include "core/half.h"
#include "core/kernel.h"
#include "core/threadpool.h"
#include "quant/q8_0.h"
#include "quant/q8_g16.h"

namespace kerf::onednn {
void matmul_int8(Registry::Adder);
namespace {

using dnnl::memory;
using Block = quant::Q8_0::Block;

constexpr int64_t kRows = 128, kTokens = 64, kBlocks = 8;  // 256 KB of integers: [kBlocks][kTokens][kRows]
constexpr int64_t kGroup = quant::Q8_G16::kGroup, kBlockValues = 32;
constexpr int64_t kSlots = 64;

struct Cut {
  int64_t tokens = 0, rows = 0, tiles = 0, panels = 0, slots = 0;
};
Cut cut_of(const Problem& p) {
  const int64_t T = p.in[0].rows(), N = p.in[1].rows();
  Cut c{.tokens = std::min(T, kTokens), .rows = std::min(N, kRows)};
  c.panels = (N + c.rows - 1) / c.rows;
  c.tiles = c.panels * ((T + c.tokens - 1) / c.tokens);
  c.slots = std::min(c.tiles, kSlots);
  return c;
}
size_t slot_values(const Cut& c) { return static_cast<size_t>(kBlocks * c.rows * (c.tokens + 1)); }  // sums and the weights' scales

/// Tokens [t, t + tokens) x rows [n, n + rows) of the output.
struct Tile {
  const Call& call;
  int64_t t, n, tokens, rows;
  int32_t* sums;
  float* scales;

  /// sums[b][t][n] of group `half` (0, 1) of `blocks` blocks from `block` on.
  void multiply(const dnnl::engine& engine, dnnl::stream& stream, int64_t block, int64_t blocks, int64_t half) const {
    const TensorView &x = call.in[0], &w = call.in[1];
    const memory::desc xd({blocks, tokens, kGroup}, memory::data_type::s8, {kBlockValues, x.desc.row_bytes(), 1});
    const memory::desc wd({blocks, kGroup, rows}, memory::data_type::s8, {static_cast<int64_t>(sizeof(Block)), 1, w.desc.row_bytes()});
    const memory::desc yd({blocks, tokens, rows}, memory::data_type::s32, {tokens * rows, rows, 1});
    auto* codes = const_cast<std::byte*>(x.row<const std::byte>(t) + block * kBlockValues + half * kGroup);
    auto* weights = const_cast<int8_t*>((w.row<const Block>(n) + block)->qs + half * kGroup);
    dnnl::matmul(dnnl::matmul::primitive_desc({xd, wd, yd}, engine))
        .execute(
            stream,
            {{DNNL_ARG_SRC, memory(xd, engine, codes)}, {DNNL_ARG_WEIGHTS, memory(wd, engine, weights)}, {DNNL_ARG_DST, memory(yd, engine, sums)}});
    stream.wait();
  }

  void add_scaled(int64_t block, int64_t blocks, int64_t half) const {
    const TensorView &x = call.in[0], &y = call.out[0];
    for (int64_t i = 0; i < tokens; ++i) {
      const float* dx = quant::Q8_G16::row(x.row<const std::byte>(t + i), x.desc.cols()).d + 2 * block + half;
      float* out = y.row<float>(t + i) + n;
      for (int64_t b = 0; b < blocks; ++b) {
        const int32_t* sum = sums + (b * tokens + i) * rows;
        const float *dw = scales + b * rows, d = dx[2 * b];
        for (int64_t r = 0; r < rows; ++r) out[r] += dw[r] * static_cast<float>(sum[r]) * d;
      }
    }
  }

  void run(const dnnl::engine& engine, dnnl::stream& stream) const {
    const TensorView &w = call.in[1], &y = call.out[0];
    const int64_t all = w.desc.cols() / kBlockValues;
    for (int64_t i = 0; i < tokens; ++i) std::fill_n(y.row<float>(t + i) + n, rows, 0.f);
    for (int64_t block = 0; block < all; block += kBlocks) {
      const int64_t blocks = std::min(kBlocks, all - block);
      for (int64_t r = 0; r < rows; ++r)
        for (int64_t b = 0; b < blocks; ++b) scales[b * rows + r] = half_to_float((w.row<const Block>(n + r) + block + b)->d);
      for (const int64_t half : {0, 1}) {
        multiply(engine, stream, block, blocks, half);
        add_scaled(block, blocks, half);
      }
    }
  }
};

void run(const Problem& p, const Call& call) {
  const Cut c = cut_of(p);
  const int64_t T = p.in[0].rows(), N = p.in[1].rows();
  const dnnl::engine engine(dnnl::engine::kind::cpu, 0);
  call.pool.parallel_for(c.slots, [&](int64_t slot) {
    const OneThread one_thread;
    dnnl::stream stream(engine);
    auto* sums = reinterpret_cast<int32_t*>(call.scratch.data()) + static_cast<size_t>(slot) * slot_values(c);
    auto* scales = reinterpret_cast<float*>(sums + kBlocks * c.rows * c.tokens);
    for (int64_t i = slot; i < c.tiles; i += c.slots) {
      const int64_t t = i / c.panels * c.tokens, n = i % c.panels * c.rows;
      Tile{call, t, n, std::min(c.tokens, T - t), std::min(c.rows, N - n), sums, scales}.run(engine, stream);
    }
  });
}

Support accepts(const Problem& p) {
  if (auto s = require(p.in[0].dtype == DType::q8_g16, "the activations are not q8_g16"); !s) return s;
  return require(p.in[1].dtype == DType::q8_0, "the weights are not q8_0");
}

}  // namespace

void matmul_int8(Registry::Adder registry) {
  cap_isa();
  registry.add({.op = MatMul::name,
                .variant = "int8",
                .note = "oneDNN's int8 GEMM (gemm:jit) on groups of 16 values, scaled by us: exact products, as it has no scales per group",
                .preference = 0,
                .isa = isa_in_use(),
                .accepts = accepts,
                .scratch_bytes =
                    [](const Problem& p) {
                      const Cut c = cut_of(p);
                      return static_cast<size_t>(c.slots) * slot_values(c) * 4;
                    },
                .run = run});
}

}  // namespace kerf::onednn
