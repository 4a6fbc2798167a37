#include "backends/cpu/fixed_matmul.h"

#include <algorithm>
#include <string>

#include "core/error.h"
#include "core/threadpool.h"
#include "quant/q15_t16.h"

namespace kerf::cpu {
namespace {

using quant::Q15_T16;

constexpr int64_t kTile = 16;
static_assert(kFixedChunk % Q15_T16::kGroup == 0 && kFixedTokens % (2 * kTile) == 0);

int64_t round_up(int64_t n, int64_t multiple) { return (n + multiple - 1) / multiple * multiple; }

/// Lengths of nearly equal parts of at most `most`, a multiple of `multiple` each except the last.
int64_t part_of(int64_t n, int64_t most, int64_t multiple) {
  const int64_t parts = (n + most - 1) / most;
  return round_up((n + parts - 1) / parts, multiple);
}

int64_t chunk_of(int64_t K) { return part_of(K, kFixedChunk, Q15_T16::kGroup); }
int64_t tokens_of(int64_t T) { return part_of(T, kFixedTokens, 2 * kTile); }

size_t scratch_bytes(const Problem& p) {
  const int64_t T = p.in[0].rows(), N = p.in[1].rows(), K = p.in[1].cols();
  if (chunk_of(K) >= K) return 0;
  return static_cast<size_t>(round_up(N, kFixedPanel) * round_up(std::min(T, tokens_of(T)), 2 * kTile)) * sizeof(float);
}

constexpr int64_t kStreamBytes = 4 << 20;  // of y: more than a core's share of caches

/// Fewer tokens are faster with f32 products (8960 x 1536, one thread: 3.0 ms for 8 tokens, 5.1 for 16; here 4.2 for both).
constexpr int64_t kFewest = 12;

template <DType type>
Support accepts(const Problem& p) {
  if (auto s = require(p.in[0].dtype == DType::q15_t16, "the activations are not q15_t16"); !s) return s;
  if (auto s = require(p.in[1].dtype == type, "the weights have another type"); !s) return s;
  return require(p.in[0].rows() >= kFewest, "fewer than 12 tokens: a tile product costs the same for one as for sixteen");
}

Support (*accepts_for(DType type))(const Problem&) {
  if (type == DType::f16) return accepts<DType::f16>;
  if (type == DType::bf16) return accepts<DType::bf16>;
  KERF_CHECK(type == DType::f32, "no 15-bit tile kernel for " + std::string(name_of(type)));
  return accepts<DType::f32>;
}

}  // namespace

void run_fixed(const Call& call, FixedPanelsFn panels) {
  const TensorView &x = call.in[0], &w = call.in[1], &y = call.out[0];
  const FixedArgs a{.x = x.as<const std::byte>(),
                    .w = w.as<const std::byte>(),
                    .y = y.as<float>(),
                    .sums = reinterpret_cast<float*>(call.scratch.empty() ? nullptr : call.scratch.data()),
                    .T = x.desc.rows(),
                    .N = w.desc.rows(),
                    .K = w.desc.cols(),
                    .row_bytes = w.desc.row_bytes(),
                    .stream = w.desc.rows() % kTile == 0 && reinterpret_cast<uintptr_t>(y.data) % 64 == 0 && y.desc.bytes() > kStreamBytes};
  const int64_t chunk = chunk_of(a.K), tokens = tokens_of(a.T), count = (a.N + kFixedPanel - 1) / kFixedPanel;
  const int64_t step = std::clamp<int64_t>(count / (8 * call.pool.size()), 1, 4);
  for (int64_t t = 0; t < a.T; t += tokens)
    for (int64_t k = 0; k < a.K; k += chunk) {
      const FixedBlock block{t, std::min(t + tokens, round_up(a.T, kTile)), k, std::min(k + chunk, a.K)};
      call.pool.parallel_for((count + step - 1) / step, [&](int64_t i) { panels(a, block, i * step, std::min(count, (i + 1) * step)); });
    }
}

void add_fixed_rung(Registry::Adder registry, DType type, void (*run)(const Problem&, const Call&)) {
  registry.add({.op = MatMul::name,
                .variant = std::string(name_of(type)) + ".7_fixed_amx",
                .improves = std::string(name_of(type)) + ".6_amx",
                .note = "15-bit fixed point instead of bf16: three int8 products at twice the rate, 250 times less squared error",
                .preference = 70,
                .isa = Isa::amx,
                .accepts = accepts_for(type),
                .scratch_bytes = scratch_bytes,
                .run = run});
}

}  // namespace kerf::cpu
