#include "backends/cpu/amx_matmul.h"

#include <algorithm>
#include <string>
#include <variant>
#include <vector>

#include "core/error.h"
#include "core/threadpool.h"
#include "quant/formats.h"

namespace kerf::cpu {
namespace {

constexpr int64_t kTile = 16;
constexpr int64_t kManyTokens = 512;       // a block of them, of half a chunk
constexpr int64_t kStreamBytes = 4 << 20;  // results that the caches next to the cores do not hold

int64_t round_up(int64_t n, int64_t multiple) { return (n + multiple - 1) / multiple * multiple; }

/// Length of equal parts of at most `most`, a multiple of `multiple`.
int64_t part_of(int64_t n, int64_t most, int64_t multiple) {
  const int64_t parts = (n + most - 1) / most;
  return round_up((n + parts - 1) / parts, multiple);
}

/// Long rows are cut, so that many tokens' part of them fits the block and weights are unpacked once for all of those.
int64_t chunk_of(int64_t K, int64_t T) { return part_of(K, K <= kAmxChunk || T <= kManyTokens / 2 ? kAmxChunk : kAmxChunk / 2, 256); }
int64_t tokens_of(int64_t T, int64_t chunk) { return part_of(T, kAmxBlockBytes / (2 * chunk) / (2 * kTile) * (2 * kTile), 2 * kTile); }
int64_t panels_of(int64_t N, bool swiglu) { return swiglu ? (N + kTile - 1) / kTile : (N + 2 * kTile - 1) / (2 * kTile); }

/// Bytes of the sums of `panels` panels that wait for the next chunk of k.
int64_t partial_bytes(int64_t panels, int64_t T, int64_t K) {
  const int64_t chunk = chunk_of(K, T);
  return chunk < K ? panels * round_up(std::min(T, tokens_of(T, chunk)), 2 * kTile) * 2 * kTile * 4 : 0;
}

bool is_swiglu(const Problem& p) { return std::holds_alternative<MatMulSwiGlu>(p.op); }
size_t outputs(const Problem& p) { return p.out.size(); }

size_t scratch_bytes(const Problem& p) {
  int64_t bytes = 0;
  for (size_t i = 1; i <= outputs(p); ++i) bytes += partial_bytes(panels_of(p.in[i].rows(), is_swiglu(p)), p.in[0].rows(), p.in[i].cols());
  return static_cast<size_t>(bytes);
}

/// Activations in tiles, and enough of them for each of the first n weights.
Support accepts_activations(const Problem& p, size_t n) {
  if (auto s = require(p.in[0].dtype == DType::bf16_t16, "the activations are not bf16_t16"); !s) return s;
  const int64_t T = p.in[0].rows();
  for (size_t i = 1; i <= n; ++i) {
    if (info(p.in[i].dtype).block_values == 1)
      if (auto s = require(T >= kAmxTokensFloat, "fewer than 12 tokens: f32 arithmetic is as fast, and keeps the precision of float weights"); !s)
        return s;
    if (info(p.in[i].dtype).tile_rows > 1)
      if (auto s = require(T >= kAmxTokensInterleaved, "fewer than 20 tokens: dot products of interleaved rows are faster"); !s) return s;
  }
  return require(T >= kAmxTokens, "fewer than 9 tokens: a tile product costs the same for one as for sixteen");
}

template <DType type>
Support accepts(const Problem& p) {
  if (auto s = accepts_activations(p, 1); !s) return s;
  return require(p.in[1].dtype == type, "the weights have another type");
}

Support accepts_fused(const Problem& p) {
  const size_t weights = is_swiglu(p) ? 2 : outputs(p);
  if (auto s = accepts_activations(p, weights); !s) return s;
  for (size_t i = 1; i <= weights; ++i)
    if (auto s = require(amx_unpacks(p.in[i].dtype), "a weight's type has no unpacker"); !s) return s;
  const DType out = p.out[0].dtype;
  if (out == DType::f32) return {};
  return require(is_swiglu(p) && out == DType::bf16_t16, "the output is neither f32 nor, of matmul_swiglu, bf16_t16");
}

AmxWeights weights_of(const TensorView& w, int64_t panel_rows, const AmxCode& code) {
  AmxWeights result{
      .data = w.as<const std::byte>(), .N = w.desc.rows(), .K = w.desc.cols(), .row_bytes = w.desc.row_bytes(), .panel_rows = panel_rows};
  code.set_unpacker(result, w.desc.dtype);
  return result;
}

std::vector<AmxProduct> products(const Problem& p, const Call& call, const AmxCode& code) {
  const bool swiglu = is_swiglu(p);
  const size_t n = outputs(p);
  std::vector<AmxProduct> result;
  std::byte* partial = call.scratch.data();
  for (size_t i = 0; i < n; ++i) {
    const TensorView &x = call.in[0], &w = call.in[1 + i], &y = call.out[i];
    AmxProduct a{.x = x.as<const std::byte>(),
                 .w = weights_of(w, swiglu ? kTile : 2 * kTile, code),
                 .swiglu = swiglu,
                 .y = y.as<std::byte>(),
                 .tiles = y.desc.dtype == DType::bf16_t16,
                 .partial = partial,
                 .T = x.desc.rows(),
                 .N = w.desc.rows(),
                 .K = w.desc.cols()};
    // Only whole lines of a cache may be streamed.
    a.stream = a.N % kTile == 0 && reinterpret_cast<uintptr_t>(y.data) % 64 == 0 && y.desc.bytes() > kStreamBytes;
    if (swiglu) a.up = weights_of(call.in[2], kTile, code);
    if (call.in.size() > 1 + n && !swiglu) {
      const TensorView& addend = call.in[1 + n + i];
      a.addend = addend.as<const float>();
      a.addend_step = addend.desc.rows() == 1 ? 0 : addend.desc.cols();
    }
    partial += partial_bytes(panels_of(a.N, swiglu), a.T, a.K);
    result.push_back(a);
  }
  return result;
}

Kernel rung(std::string_view op, std::string variant, std::string_view note, Support (*accepts)(const Problem&),
            void (*run)(const Problem&, const Call&)) {
  return {.op = op,
          .variant = std::move(variant),
          .note = note,
          .preference = 60,
          .isa = Isa::amx,
          .unit = 0x1p-8,
          .accepts = accepts,
          .scratch_bytes = scratch_bytes,
          .run = run};
}

}  // namespace

bool amx_unpacks(DType type) {
  bool known = false;
  quant::Formats::for_each([&]<class F>(F) { known |= type == F::dtype || type == interleaved(F::dtype); });
  return known;
}

int64_t amx_chunk(int64_t K, int64_t T) { return chunk_of(K, T); }

void run_amx(const Problem& p, const Call& call, const AmxCode& code) {
  const auto parts = products(p, call, code);
  const int64_t T = parts[0].T, K = parts[0].K, chunk = chunk_of(K, T), tokens = tokens_of(T, chunk);
  int64_t panels = 0;
  for (const auto& a : parts) panels += panels_of(a.N, a.swiglu);
  const int64_t step = std::clamp<int64_t>(panels / (4 * call.pool.size()), 1, 8);
  std::vector<int64_t> begin{0};  // the tasks of part i begin at begin[i]
  for (const auto& a : parts) begin.push_back(begin.back() + (panels_of(a.N, a.swiglu) + step - 1) / step);
  for (int64_t t = 0; t < T; t += tokens)
    for (int64_t k = 0; k < K; k += chunk) {
      const AmxBlock block{t, std::min(t + tokens, round_up(T, kTile)), k, std::min(k + chunk, K)};
      call.pool.parallel_for(begin.back(), [&](int64_t task) {
        const auto i = static_cast<size_t>(std::upper_bound(begin.begin(), begin.end(), task) - begin.begin() - 1);
        const int64_t first = (task - begin[i]) * step;
        code.panels(parts[i], block, first, std::min(first + step, panels_of(parts[i].N, parts[i].swiglu)));
      });
    }
}

void add_amx_rung(Registry::Adder registry, DType type, void (*run)(const Problem&, const Call&)) {
  Kernel k = rung(MatMul::name, std::string(name_of(type)) + ".6_amx",
                  "32 rows unpacked to bf16 once for a block of tokens that stays in L2, tile products with f32 sums", nullptr, run);
  quant::Formats::for_each([&]<class F>(F) {
    if (type == F::dtype)
      k.accepts = accepts<F::dtype>, k.improves = quant::AffineFormat<F> ? std::string(name_of(type)) + ".4_panel" : "any.2_fma_avx512";
    if constexpr (quant::AffineFormat<F>)
      if (type == *interleaved(F::dtype))
        k.accepts = accepts<*interleaved(F::dtype)>, k.improves = std::string(name_of(type)) + ".5_vnni", k.preference = 65;
  });
  KERF_CHECK(k.accepts != nullptr, "no tile kernels for " + std::string(name_of(type)));
  registry.add(std::move(k));
}

void add_amx_fused_rungs(Registry::Adder registry, void (*run)(const Problem&, const Call&)) {
  registry.add(rung(MatMuls::name, "6_amx", "panels of all weights in one loop, addends added on the way from tiles to memory", accepts_fused, run));
  Kernel swiglu = rung(MatMulSwiGlu::name, "6_amx",
                       "a panel is 16 rows of gate and 16 of up: silu(gate) * up while the sums are in L1, written as tiles if they are read so",
                       accepts_fused, run);
  swiglu.writes = {DType::bf16_t16};
  registry.add(std::move(swiglu));
}

}  // namespace kerf::cpu
