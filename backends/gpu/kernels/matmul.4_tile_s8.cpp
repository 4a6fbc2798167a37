// 4_tile_s8: many tokens and quantized weights, on matrix units that multiply bytes. One launch rounds activations to eight bits, 32
// of a row with one scale; codes of the weights become signed bytes in shared memory; sums of 32 products are integers, each then scaled
// in f32 and added. To compare with 4_tile, which decodes weights to f16 and scales nothing until the end: a product of bytes takes half the
// time of the two of f16 that it replaces, on all these matrix units, and 256 scalings come with it. What is less, no GPU has said yet.
//
// 32 activations, as most formats have one scale for 32 weights: a scaling is three operations in f32 for each sum (four with a minimum) and
// would be needed twice as often for 16, whose largest value is smaller by a seventh only (the largest of 32 normal values is 2.07, of
// 16 it is 1.77). Formats with scales for 16 (q2_k, q3_k, q6_k) have a product and a scaling for each half.
//
// Scales of activations are powers of two, as those of quant/q15_t16.h: that costs half a bit on average, and makes a scale times that of
// a weight exact, and small integers. A step is then less than 2/127 of the largest value, so an activation is off by 1/127 of it at most
// (or by 2^-101, if that is more).
#include <bit>

#include "backends/gpu/kernels/tile16.h"

namespace kerf::KERF_GPU_NS {
namespace {

using namespace tile16;

constexpr int kGroup = 32;  // activations with one scale
static_assert(kGroup == kStep && kGroup == kLanes);
constexpr int kByteStride = kStep + 16;  // rows of 48 bytes: eight of them are read from different banks

/// Of a group: the scale, and the scale times the sum of all codes, of the first half, of the second.
struct alignas(16) GroupScale {
  float scale, sum, half[2];
};

struct ByteArgs {
  Product p;
  int8_t* codes;       // [padded T][K]
  GroupScale* scales;  // [padded T][K / 32]
  int64_t padded_T;
};

/// The least power of two of which 127 reach `largest`, and 2^-100 at least: multiplied by a weight's scale, which is a multiple of 2^-24 or
/// zero, it is a normal number.
KERF_DEVICE float step_for(float largest) {
  const int exponent = static_cast<int>(std::bit_cast<uint32_t>(largest) >> 23) - 6;
  const float step = std::bit_cast<float>(static_cast<uint32_t>(exponent < 27 ? 27 : exponent) << 23);
  return largest > 127 * step ? 2 * step : step;
}

/// A block per row of x, padded rows included; a warp per group. A group that is not finite has a scale that is not a number.
KERF_GLOBAL(kThreads) round_to_bytes(ByteArgs a) {
  const int64_t t = block_x(), groups = a.p.K / kGroup;
  const auto* row = reinterpret_cast<const float*>(a.p.x + t * a.p.x_bytes);
  for (int64_t g = warp(); g < groups; g += kThreads / kLanes) {
    const int64_t k = g * kGroup + lane();
    const float x = t < a.p.T ? row[k] : 0.f;
    const bool finite = all(fabsf(x) <= 0x1.fffffep127f);
    const float step = step_for(warp_max(finite ? fabsf(x) : 0.f));
    const int code = static_cast<int>(finite ? rintf(x * (1 / step)) : 0.f);
    a.codes[t * a.p.K + k] = static_cast<int8_t>(code);
    int half = code;
    for (unsigned bits = kGroup / 4; bits > 0; bits /= 2) half += shfl_xor(half, bits);
    const int other = shfl_xor(half, kGroup / 2);
    const float scale = finite ? step : std::bit_cast<float>(0x7FC00000u);
    const auto scaled = [&](int sum) { return scale * static_cast<float>(sum); };
    if (lane() == 0) a.scales[t * groups + g] = {scale, scaled(half + other), {scaled(half), scaled(other)}};
  }
}

/// Scales that 32 weights have.
template <class F>
constexpr int kScales = F::dtype == DType::q2_k || F::dtype == DType::q3_k || F::dtype == DType::q6_k ? 2 : 1;

template <class F, int tokens>
struct ByteStage {
  int8_t x[tokens][kByteStride], w[kRows][kByteStride];
  GroupScale x_scale[tokens];
  float w_scale[kScales<F>][kRows], w_min[F::kHasMin ? kScales<F> : 1][kRows];
};
template <class F, int tokens>
union ByteMemory {
  ByteStage<F, tokens> stage[2];
  float sums[tokens][kSumStride];
};

/// Four codes less the format's offset, as signed bytes. The first bit of each, set before, is what a byte may borrow.
template <class F>
KERF_DEVICE uint32_t signed_codes(uint32_t code) {
  constexpr uint32_t kSigns = 0x80808080u;
  if constexpr (F::kOffset == 128) return code ^ kSigns;
  if constexpr (F::kOffset == 0) return code;
  return ((code | kSigns) - 0x01010101u * F::kOffset) ^ kSigns;
}

/// What a thread brings to shared memory of each step: sixteen activations and a scale, if it is one of the first, by asynchronous copies;
/// and the 32 weights of its row, in registers until they are stored.
template <class F, int tokens>
struct FetchBytes {
  static_assert(kRows == kThreads && 2 * tokens <= kThreads);
  const int8_t* codes;
  const GroupScale* scales;
  const std::byte* w;
  Group g[2];

  KERF_DEVICE FetchBytes(const ByteArgs& a, int64_t t0, int64_t n0) {
    const unsigned i = thread_x();
    const int64_t n = n0 + i;
    codes = a.codes + (t0 + i / 2) * a.p.K + i % 2 * 16;
    scales = a.scales + (t0 + i) * (a.p.K / kGroup);
    w = a.p.w + (n < a.p.N ? n : a.p.N - 1) * a.p.w_bytes;
  }
  KERF_DEVICE void begin(ByteStage<F, tokens>& s, int64_t k0) {
    const unsigned i = thread_x();
    if (i < 2 * tokens) copy_async16(&s.x[i / 2][i % 2 * 16], codes + k0);
    if (i < tokens) copy_async16(&s.x_scale[i], scales + k0 / kGroup);
    copy_commit();
    KERF_UNROLL
    for (int half = 0; half < 2; ++half) g[half] = group_of_row<F>(w, k0 / 16 + half);
  }
  KERF_DEVICE void end(ByteStage<F, tokens>& s) const {
    const unsigned row = thread_x();
    KERF_UNROLL
    for (int i = 0; i < 2; ++i) {
      Words4 bytes;
      KERF_UNROLL
      for (int j = 0; j < 4; ++j) bytes.w[j] = signed_codes<F>(g[i].code[j]);
      *reinterpret_cast<Words4*>(&s.w[row][16 * i]) = bytes;
      if (i >= kScales<F>) continue;
      s.w_scale[i][row] = g[i].scale;
      if constexpr (F::kHasMin) s.w_min[i][row] = g[i].min;
    }
  }
};

/// Integer sums begin at the bits of 1.5 * 2^23: they end as those of 1.5 * 2^23 + sum, which a subtraction makes a float; of conversions a
/// multiprocessor does fewer at a time. 32 products of at most 128 * 127 are less than the 2^22 this can hold. Four registers
/// hold the beginning for all tiles; beside the tile of 16 tokens in 64 registers there is no room for them (nvcc 13.0 spills), so that
/// one begins at 0. A conversion gives the same bits.
template <int tokens>
constexpr int32_t kBegin = tokens == 16 ? 0 : 0x4B400000;
template <int tokens>
KERF_DEVICE float sum_of(int32_t products) {
  return kBegin<tokens> == 0 ? static_cast<float>(products) : std::bit_cast<float>(products) - 12582912.f;
}

template <class F, int tokens>
KERF_DEVICE void multiply_bytes(Sums (&sums)[Waves<tokens>::kTilesT][Waves<tokens>::kTilesN], const ByteStage<F, tokens>& s, int wave_t, int wave_n) {
  constexpr int kTilesT = Waves<tokens>::kTilesT, kTilesN = Waves<tokens>::kTilesN;
  Tile8 x[kTilesT];
  KERF_UNROLL
  for (int t = 0; t < kTilesT; ++t) load_a(x[t], &s.x[(wave_t * kTilesT + t) * 16][0], kByteStride);
  KERF_UNROLL
  for (int n = 0; n < kTilesN; ++n) {
    const int first_row = (wave_n * kTilesN + n) * 16;
    Tile8 w;
    load_b(w, &s.w[first_row][0], kByteStride);
    KERF_UNROLL
    for (int i = 0; i < kScales<F>; ++i) {
      KERF_UNROLL
      for (int t = 0; t < kTilesT; ++t) {
        IntSums products;
        KERF_UNROLL
        for (int e = 0; e < IntSums::n; ++e) products.e[e] = kBegin<tokens>;
        if constexpr (kScales<F> == 1)
          mma_s8(products, x[t], w);
        else if (i == 0)
          mma_s8_half<0>(products, x[t], w);
        else
          mma_s8_half<1>(products, x[t], w);
        int e = 0;
        for_each(sums[t][n], [&](int token, int row, float& sum) {
          const GroupScale& g = s.x_scale[(wave_t * kTilesT + t) * 16 + token];
          sum = fmaf(g.scale * s.w_scale[i][first_row + row], sum_of<tokens>(products.e[e++]), sum);
          if constexpr (F::kHasMin) sum = fmaf(-s.w_min[i][first_row + row], kScales<F> == 1 ? g.sum : g.half[i], sum);
        });
      }
    }
  }
}

template <class F, int tokens>
KERF_GLOBAL(kThreads)
multiply_tiles_s8(ByteArgs a) {
  using Here = ByteMemory<F, tokens>;
  using W = Waves<tokens>;
  KERF_SHARED(Here, memory, [1]);
  auto& stage = memory[0].stage;
  const int64_t t0 = static_cast<int64_t>(block_y()) * tokens, n0 = static_cast<int64_t>(block_x()) * kRows;
  const int wave = static_cast<int>(thread_x()) / kWave, wave_n = wave % W::kOverRows, wave_t = wave / W::kOverRows;
  Sums sums[W::kTilesT][W::kTilesN] = {};
  FetchBytes<F, tokens> fetch(a, t0, n0);
  fetch.begin(stage[0], 0);
  fetch.end(stage[0]);
  for (int64_t k0 = 0; k0 < a.p.K; k0 += kStep) {
    copy_wait<0>();
    block_sync();  // this step is there, and the one before is no longer read
    const bool more = k0 + kStep < a.p.K;
    if (more) fetch.begin(stage[(k0 / kStep + 1) % 2], k0 + kStep);
    multiply_bytes<F, tokens>(sums, stage[k0 / kStep % 2], wave_t, wave_n);
    if (more) fetch.end(stage[(k0 / kStep + 1) % 2]);
  }
  block_sync();
  store_sums<tokens>(memory[0].sums, sums, wave_t, wave_n);
  write_tile<kThreads, tokens, kRows>(a.p, memory[0].sums, t0, n0,
                                      [&](float sum, int64_t t, int64_t n) { return fabsf(sum) <= 0x1.fffffep127f ? sum : dot_f32<F>(a.p, t, n); });
}

size_t scratch(const Problem& p) {
  const int64_t T = padded(p.in[0].rows(), tile_for(p.in[0].rows())), K = p.in[0].cols();
  return static_cast<size_t>(T * K + T * K / kGroup * static_cast<int64_t>(sizeof(GroupScale)));
}

void run(const Problem& problem, const Call& call) {
  bool rounded = false;  // all weights of a call want the same
  for_each_product(problem, call, [&](const Product& p, DType weights) {
    const int tile = tile_for(p.T);
    ByteArgs a{.p = p, .codes = nullptr, .scales = nullptr, .padded_T = padded(p.T, tile)};
    a.codes = reinterpret_cast<int8_t*>(call.scratch.data());
    a.scales = reinterpret_cast<GroupScale*>(a.codes + a.padded_T * p.K);
    if (!rounded) launch(call, {.kernel = "round_to_bytes", .blocks = {static_cast<unsigned>(a.padded_T)}, .threads = kThreads}, round_to_bytes, a);
    rounded = true;
    quant::AffineFormats::visit(weights, [&]<class F>(F) {
      with_tile(tile, [&]<int tokens>(std::integral_constant<int, tokens>) {
        launch(call, {.kernel = "multiply_tiles_s8", .blocks = {blocks_for(p.N, kRows), blocks_for(p.T, tokens)}, .threads = kThreads},
               multiply_tiles_s8<F, tokens>, a);
      });
    });
  });
}

}  // namespace

void matmul_4_tile_s8(Registry::Adder registry) {
  add_products(registry, {.variant = "4_tile_s8",
                          .improves = "3_tile_f32",
                          .note = "matrix units on bytes: activations rounded to eight bits with a scale for 32, sums of 32 products in integers and "
                                  "then scaled in f32; 4_tile rounds both operands to f16, which is more exact, and scales nothing until the end",
                          .preference = 3,  // below those that keep more bits of an activation: for who asks for it
                          .unit_values = kGroup,
                          .unit = 1.0 / 127,
                          .accepts = [](const Problem& p) { return takes_tiles(p, is_affine); },
                          .scratch_bytes = scratch,
                          .run = run});
}

}  // namespace kerf::KERF_GPU_NS
