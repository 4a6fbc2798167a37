// What a GPU can do at most, by kernels that do nothing else, and which lane of a wave holds which element of a tile.
#include <vector>

#include "backends/gpu/gpu.h"
#include "core/device.h"

namespace kerf::KERF_GPU_NS {
namespace {

constexpr int kThreads = 256;
constexpr int64_t kBytesPerBlock = 64 << 10;
constexpr unsigned kMostBlocks = 4096;  // a few waves of blocks on the largest GPU
constexpr int kRounds = 64;             // of the arithmetic probes
constexpr int kChains = 8;              // independent sums: more than the latency of one

struct alignas(16) Four {
  float v[4];
};
struct ProbeArgs {
  Four* memory;
  int64_t n;  // of Four
};

KERF_GLOBAL(kThreads) read_all(ProbeArgs a) {
  float sum = 0;
  const int64_t stride = static_cast<int64_t>(blocks_x()) * kThreads;
  for (int64_t i = static_cast<int64_t>(block_x()) * kThreads + thread_x(); i < a.n; i += stride) {
    const Four f = a.memory[i];
    sum += f.v[0] + f.v[1] + f.v[2] + f.v[3];
  }
  if (sum == 1.5f) a.memory[0].v[0] = sum;  // never: the memory holds zeros, which the compiler does not know
}

/// The first half becomes the second.
KERF_GLOBAL(kThreads) copy_half(ProbeArgs a) {
  const int64_t half = a.n / 2, stride = static_cast<int64_t>(blocks_x()) * kThreads;
  for (int64_t i = static_cast<int64_t>(block_x()) * kThreads + thread_x(); i < half; i += stride) a.memory[half + i] = a.memory[i];
}

KERF_GLOBAL(kThreads) fma_chains(ProbeArgs a) {
  float sums[kChains] = {};
  const float x = a.memory[0].v[0], y = static_cast<float>(thread_x());
  for (int i = 0; i < kRounds; ++i) KERF_UNROLL
  for (int c = 0; c < kChains; ++c) sums[c] = fmaf(sums[c], x, y);
  float sum = 0;
  KERF_UNROLL
  for (int c = 0; c < kChains; ++c) sum += sums[c];
  if (sum == 1.5f) a.memory[0].v[0] = sum;
}

enum class Unit : uint8_t { f16, bf16, s8 };

/// Waves of 64 do twice as many rounds: the work of a block is the same.
template <Unit unit, class Sum, class Tile, class Element>
KERF_GLOBAL(kThreads)
multiply_chains(ProbeArgs a) {
  constexpr int kStride = 16 / static_cast<int>(sizeof(Element)) * 3;
  KERF_SHARED(Element, rows, [16][16 / sizeof(Element) * 3]);
  for (unsigned i = thread_x(); i < 16 * kStride; i += kThreads) rows[i / kStride][i % kStride] = static_cast<Element>(a.memory[0].v[0]);
  block_sync();
  Tile x, y;
  load_a(x, &rows[0][0], kStride);
  load_b(y, &rows[0][0], kStride);
  Sum sums[kChains] = {};
  for (int i = 0; i < kRounds * kWave / 32; ++i) KERF_UNROLL
  for (int c = 0; c < kChains; ++c) {
    if constexpr (unit == Unit::f16) mma_f16(sums[c], x, y);
    if constexpr (unit == Unit::bf16) mma_bf16(sums[c], x, y);
    if constexpr (unit == Unit::s8) mma_s8(sums[c], x, y);
  }
  float sum = 0;
  KERF_UNROLL
  for (int c = 0; c < kChains; ++c) for_each(sums[c], [&](int, int, auto v) { sum += static_cast<float>(v); });
  if (sum == 1.5f) a.memory[0].v[0] = sum;
}

constexpr int kWordsOfLane = 24;  // at most, of layout_of_tiles: 8 of a tile, and 8 places in a product

/// Each lane writes what it holds of tiles whose elements are all different, then which elements of a product are its own.
KERF_GLOBAL(64) layout_of_tiles(ProbeArgs a) {
  KERF_SHARED(uint16_t, wide, [16][24]);
  KERF_SHARED(int8_t, narrow, [16][48]);
  for (unsigned i = thread_x(); i < 16 * 16; i += 64) wide[i / 16][i % 16] = static_cast<uint16_t>(i);
  for (unsigned i = thread_x(); i < 16 * 32; i += 64) narrow[i / 32][i % 32] = static_cast<int8_t>(i / 32 * 8 + i % 32 / 4);
  block_sync();
  auto* out = reinterpret_cast<uint32_t*>(a.memory) + thread_x() * kWordsOfLane * 5;
  const auto dump = [&](const auto& tile) {
    uint32_t words[sizeof(tile) / 4];
    memcpy(words, &tile, sizeof(tile));
    for (unsigned i = 0; i < sizeof(tile) / 4; ++i) out[i] = words[i];
    out += kWordsOfLane;
  };
  Tile16 t;
  load_a(t, &wide[0][0], 24);
  dump(t);
  load_b(t, &wide[0][0], 24);
  dump(t);
  Tile8 s;
  load_a(s, &narrow[0][0], 48);
  dump(s);
  load_b(s, &narrow[0][0], 48);
  dump(s);
  Sums c{};
  int element = 0;
  for_each(c, [&](int row, int column, float&) { out[element++] = static_cast<uint32_t>(row * 16 + column); });
}

unsigned blocks_of(int64_t bytes) {
  const int64_t blocks = bytes / kBytesPerBlock;
  return static_cast<unsigned>(blocks < 1 ? 1 : blocks > kMostBlocks ? kMostBlocks : blocks);
}

template <void (*kernel)(ProbeArgs)>
void run(const Problem& p, const Call& call) {
  launch(call, {.kernel = "probe", .blocks = {blocks_of(p.in[0].bytes())}, .threads = kThreads}, kernel,
         ProbeArgs{.memory = call.in[0].as<Four>(), .n = p.in[0].bytes() / 16});
}

Probe probe(std::string_view name, std::string_view note, void (*run)(const Problem&, const Call&), double bytes, int64_t flops_per_block) {
  return {.kernel = {.op = name, .note = note, .run = run, .backend = KERF_GPU_BACKEND},
          .bytes = bytes,
          .flops_per_block = flops_per_block,
          .blocks = blocks_of};
}

}  // namespace

std::vector<Probe> probes();
std::vector<Probe> probes() {
  constexpr int64_t kFma = int64_t{2} * kThreads * kRounds * kChains, kTiles = int64_t{2} * 4096 * (kThreads / 32) * kRounds * kChains;
  return {
      probe("read", "16 bytes a thread, all of the memory", run<read_all>, 1, 0),
      probe("copy", "half of the memory to the other half", run<copy_half>, 1, 0),
      probe("fma_f32", "eight chains of fma a thread", run<fma_chains>, 0, kFma),
      probe("mma_f16", "eight chains of tile products a wave", run<multiply_chains<Unit::f16, Sums, Tile16, uint16_t>>, 0, kTiles),
      probe("mma_bf16", "the same in bf16", run<multiply_chains<Unit::bf16, Sums, Tile16, uint16_t>>, 0, kTiles),
      probe("mma_s8", "the same in 8-bit integers", run<multiply_chains<Unit::s8, IntSums, Tile8, int8_t>>, 0, 2 * kTiles),
      {.kernel = {.op = kLayoutProbe,
                  .note = "which lane holds which element of a tile",
                  .run =
                      [](const Problem&, const Call& call) {
                        launch(call, {.kernel = kLayoutProbe, .blocks = {1}, .threads = 64}, layout_of_tiles,
                               ProbeArgs{.memory = call.in[0].as<Four>(), .n = 0});
                      },
                  .backend = KERF_GPU_BACKEND}},
  };
}

}  // namespace kerf::KERF_GPU_NS
