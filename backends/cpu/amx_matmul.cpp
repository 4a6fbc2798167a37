#include "backends/cpu/amx_matmul.h"

#include <algorithm>
#include <string>

#include "core/error.h"
#include "core/threadpool.h"
#include "quant/formats.h"

namespace kerf::cpu {
namespace {

constexpr int64_t kTile = 16;
constexpr int64_t kStreamBytes = 4 << 20;  // results that the caches next to the cores do not hold

int64_t round_up(int64_t n, int64_t multiple) { return (n + multiple - 1) / multiple * multiple; }

/// Lengths of equal parts of at most `most`, a multiple of `multiple` each except the last.
int64_t part_of(int64_t n, int64_t most, int64_t multiple) {
  const int64_t parts = (n + most - 1) / most;
  return round_up((n + parts - 1) / parts, multiple);
}

int64_t chunk_of(int64_t K) { return part_of(K, kAmxChunk, 256); }
int64_t tokens_of(int64_t T, int64_t chunk) {
  const int64_t most = kAmxBlockBytes / (2 * chunk) / (2 * kTile) * (2 * kTile);
  return part_of(T, most, 2 * kTile);
}

size_t scratch_bytes(const Problem& p) {
  const int64_t T = p.in[0].rows(), N = p.in[1].rows(), K = p.in[1].cols(), chunk = chunk_of(K);
  if (chunk >= K) return 0;
  return static_cast<size_t>(round_up(N, kAmxPanel) * round_up(std::min(T, tokens_of(T, chunk)), 2 * kTile) * 4);
}

template <DType type>
Support accepts(const Problem& p) {
  if (auto s = require(p.in[0].dtype == DType::bf16_t16, "the activations are not bf16_t16"); !s) return s;
  if (auto s = require(p.in[1].dtype == type, "the weights have another type"); !s) return s;
  return require(p.in[0].rows() >= kAmxTokens, "fewer than 9 tokens: a tile product costs the same for one as for sixteen");
}

}  // namespace

void run_amx(const Call& call, AmxPanelsFn panels) {
  const TensorView &x = call.in[0], &w = call.in[1], &y = call.out[0];
  // Only whole lines of a cache may be streamed.
  const bool lines = w.desc.rows() % kTile == 0 && reinterpret_cast<uintptr_t>(y.data) % 64 == 0;
  const AmxArgs a{.x = x.as<const std::byte>(),
                  .w = w.as<const std::byte>(),
                  .y = y.as<float>(),
                  .partial = call.scratch.data(),
                  .T = x.desc.rows(),
                  .N = w.desc.rows(),
                  .K = w.desc.cols(),
                  .row_bytes = w.desc.row_bytes(),
                  .stream = lines && y.desc.bytes() > kStreamBytes};
  const int64_t chunk = chunk_of(a.K), tokens = tokens_of(a.T, chunk), count = (a.N + kAmxPanel - 1) / kAmxPanel;
  const int64_t step = std::clamp<int64_t>(count / (3 * call.pool.size()), 1, 16);
  for (int64_t t = 0; t < a.T; t += tokens)
    for (int64_t k = 0; k < a.K; k += chunk) {
      const AmxBlock block{t, std::min(t + tokens, round_up(a.T, kTile)), k, std::min(k + chunk, a.K)};
      call.pool.parallel_for((count + step - 1) / step, [&](int64_t i) { panels(a, block, i * step, std::min(count, (i + 1) * step)); });
    }
}

void add_amx_rung(Registry::Adder registry, DType type, void (*run)(const Problem&, const Call&)) {
  Kernel k{.op = MatMul::name,
           .variant = std::string(name_of(type)) + ".6_amx",
           .note = "32 rows unpacked to bf16 once for a block of tokens that stays in L2, tile products with f32 sums",
           .preference = 60,
           .isa = Isa::amx,
           .unit = 0x1p-9,
           .scratch_bytes = scratch_bytes,
           .run = run};
  const auto take = [&]<class F>(F) {
    k.improves = "any.2_fma_avx512";
    if (type == F::dtype) return void(k.accepts = accepts<F::dtype>);
    if constexpr (quant::AffineFormat<F>)
      k.accepts = accepts<*interleaved(F::dtype)>, k.improves = std::string(name_of(type)) + ".5_vnni", k.preference = 65;
  };
  quant::Formats::for_each([&]<class F>(F f) {
    if (type == F::dtype || interleaved(F::dtype) == type) take(f);
  });
  if (quant::AffineFormats::visit(type, [](auto) {})) k.improves = std::string(name_of(type)) + ".4_panel";
  KERF_CHECK(k.accepts != nullptr, "no tile kernels for " + std::string(name_of(type)));
  registry.add(std::move(k));
}

}  // namespace kerf::cpu
