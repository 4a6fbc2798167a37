// The contract of every matmul kernel of this backend (backends/cpu/matmul.h): the additions of one output element happen
// in an order that depends on nothing but K. So the bits of a token's row do not depend on how many tokens come with it,
// on the number of threads, or on which of the vector rungs for few and for many tokens runs.
#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <map>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "backends/backends.h"
#include "core/kernel.h"
#include "core/threadpool.h"
#include "quant/bf16_t16.h"
#include "quant/formats.h"
#include "quant/q8_g16.h"
#include "tests/catch.h"
#include "tests/kernels/tile_emulator.h"

namespace {
using namespace kerf;

constexpr uint64_t kSeed = 20;
constexpr int64_t kTokens = 11;

/// Random codes, scales of a size that keeps sums finite.
template <class F>
std::vector<std::byte> random_weights(int64_t N, int64_t K, std::mt19937_64& random) {
  std::vector<std::byte> bytes(static_cast<size_t>(N * row_bytes(F::dtype, K)));
  for (auto& b : bytes) b = static_cast<std::byte>(random());
  std::normal_distribution<float> normal;
  auto* block = reinterpret_cast<typename F::Block*>(bytes.data());
  for (int64_t i = 0; i < N * K / info(F::dtype).block_values; ++i) {
    const auto half = [&] { return float_to_half(normal(random)); };
    if constexpr (requires { block->d; }) block[i].d = half();
    if constexpr (requires { block->dmin; }) block[i].dmin = half();
    if constexpr (requires { block->m; }) block[i].m = half();
    if constexpr (requires { block->value; }) block[i].value = normal(random);
    if constexpr (F::dtype == DType::f16) block[i].bits = half();
    if constexpr (F::dtype == DType::bf16) block[i].bits = float_to_bf16(normal(random));
  }
  return bytes;
}

struct Data {
  int64_t N, K;
  DType type;
  std::vector<std::byte> w{};
  std::vector<float> x{};
  std::vector<std::byte> coded{};

  std::vector<float> run(const Kernel& k, DType activations, int64_t T, ThreadPool& pool) const {
    const Problem p = problem(MatMul{}, {matrix(activations, T, K), matrix(type, N, K)});
    if (!k.accepts(p)) return {};
    std::vector<float> y(static_cast<size_t>(T * N), std::nanf(""));
    const void* in0 = activations == DType::f32 ? static_cast<const void*>(x.data()) : coded.data();
    const TensorView in[] = {{p.in[0], const_cast<void*>(in0)}, {p.in[1], const_cast<std::byte*>(w.data())}}, out[] = {{p.out[0], y.data()}};
    k.run(p, {in, out, {}, pool});
    return y;
  }
};

/// Whether `part` begins `whole`; a kernel that does not take so few tokens has no part.
bool same_bits(const std::vector<float>& part, const std::vector<float>& whole) {
  return part.empty() || std::memcmp(part.data(), whole.data(), part.size() * sizeof(float)) == 0;
}

template <class F>
Data random_data(int64_t N, int64_t K, uint64_t seed, int64_t tokens = kTokens) {
  std::mt19937_64 random(seed);
  Data d{.N = N, .K = K, .type = F::dtype};
  d.w = random_weights<F>(N, K, random);
  std::normal_distribution<float> normal;
  d.x.resize(static_cast<size_t>(tokens * K));
  for (auto& v : d.x) v = normal(random);
  if (K % 32) return d;
  const TensorDesc rows = matrix(DType::q8_g16, tokens, K);
  d.coded.resize(static_cast<size_t>(rows.bytes()));
  for (int64_t t = 0; t < tokens; ++t) quant::Q8_G16::encode_row(&d.x[static_cast<size_t>(t * K)], K, d.coded.data() + t * rows.row_bytes());
  return d;
}

template <class F>
void check_order(const Registry& registry, int64_t K) {
  const Data data = random_data<F>(37, K, kSeed);
  ThreadPool one(1), two(2), three(3), eight(8);
  for (DType activations : {DType::f32, DType::q8_g16}) {
    if (activations == DType::q8_g16 && K % 32) continue;
    std::vector<float> vnni;
    for (const Kernel& k : registry.all()) {
      if (k.op != MatMul::name || k.isa > detect_isa()) continue;
      const auto whole = data.run(k, activations, kTokens, one);
      if (whole.empty()) continue;
      INFO(k.name() << ", " << name_of(F::dtype) << ", K = " << K << ", seed " << kSeed);
      CHECK(std::none_of(whole.begin(), whole.end(), [](float v) { return std::isnan(v); }));
      for (int64_t T : {1, 2, 3, 4, 5, 7, 8, 9}) CHECK(same_bits(data.run(k, activations, T, one), whole));
      for (ThreadPool* pool : {&two, &three, &eight}) CHECK(same_bits(data.run(k, activations, kTokens, *pool), whole));
      if (k.isa != Isa::vnni) continue;
      if (!vnni.empty()) CHECK(same_bits(vnni, whole));
      vnni = whole;
    }
  }
}

TEST_CASE("a token has the same bits in every batch and with every number of threads") {
  Registry registry;
  fill_cpu(registry);
  quant::Formats::for_each([&]<class F>(F) {
    constexpr int kValues = info(F::dtype).block_values;
    // One block, a part of a strip after whole ones, and more than one segment.
    const std::vector<int64_t> lengths = kValues == 256  ? std::vector<int64_t>{256, 1280, 2304}
                                         : kValues == 32 ? std::vector<int64_t>{32, 288, 2080}
                                                         : std::vector<int64_t>{5, 100, 2080};
    for (int64_t K : lengths) check_order<F>(registry, K);
  });
}

/// Float activations: kernels that change their way of working with the number of tokens agree with themselves.
void check_batches(const Registry& registry, const Data& data, int64_t tokens, const std::vector<int64_t>& fewer) {
  ThreadPool one(1), two(2), three(3);
  for (const Kernel& k : registry.all()) {
    if (k.op != MatMul::name || k.isa > detect_isa()) continue;
    const auto whole = data.run(k, DType::f32, tokens, one);
    if (whole.empty()) continue;
    INFO(k.name() << ", " << name_of(data.type) << ", K = " << data.K << ", seed " << kSeed);
    CHECK(std::none_of(whole.begin(), whole.end(), [](float v) { return std::isnan(v); }));
    for (int64_t T : fewer) CHECK(same_bits(data.run(k, DType::f32, T, one), whole));
    for (ThreadPool* pool : {&two, &three}) CHECK(same_bits(data.run(k, DType::f32, tokens, *pool), whole));
  }
}

TEST_CASE("float activations: a token of a long batch has the bits that it has alone") {
  Registry registry;
  fill_cpu(registry);
  quant::Formats::for_each([&]<class F>(F) {
    constexpr int kValues = info(F::dtype).block_values;
    // 64 + 32 + 5 rows: panels of both widths and rows that fill none. 41 tokens: tiles of 5 and 6, and of 10 and 11.
    for (int64_t K : kValues == 256  ? std::vector<int64_t>{256, 1280}
                     : kValues == 32 ? std::vector<int64_t>{32, 864}
                                     : std::vector<int64_t>{5, 100, 1121})
      check_batches(registry, random_data<F>(101, K, kSeed, 41), 41, {1, 11, 12, 13, 16, 17, 31, 32, 36});
  });
  // Rows long enough for two blocks of tokens (run_panels in backends/cpu/matmul.h).
  check_batches(registry, random_data<quant::Q8_0>(37, 65536, kSeed, 41), 41, {1, 12});
}

TEST_CASE("one activation that is not finite spoils its token only") {
  Registry registry;
  fill_cpu(registry);
  ThreadPool pool(1);
  Data data = random_data<quant::Q4_K>(20, 1024, kSeed);
  data.x[3 * 1024 + 700] = std::nanf("");
  const TensorDesc row = matrix(DType::q8_g16, 1, 1024);
  quant::Q8_G16::encode_row(&data.x[3 * 1024], 1024, data.coded.data() + 3 * row.row_bytes());
  for (const Kernel& k : registry.all()) {
    if (k.op != MatMul::name || k.isa > detect_isa()) continue;
    for (DType activations : {DType::f32, DType::q8_g16}) {
      const auto y = data.run(k, activations, kTokens, pool);
      INFO(k.name());
      for (size_t i = 0; i < y.size(); ++i)
        if (std::isnan(y[i]) != (i / 20 == 3)) FAIL("token " << i / 20 << " row " << i % 20 << " is " << y[i]);
    }
  }
}

/// The first T tokens as tiles, multiplied with weights in the file's layout or interleaved.
std::vector<float> run_tiles(const Kernel& k, const Data& data, DType weights, const std::vector<std::byte>& w, int64_t T, ThreadPool& pool) {
  const Problem p = problem(MatMul{}, {matrix(DType::bf16_t16, T, data.K), matrix(weights, data.N, data.K)});
  if (!k.accepts(p)) return {};
  std::vector<uint16_t> x(static_cast<size_t>(p.in[0].bytes()) / 2);
  for (int64_t t = 0; t < T; ++t)
    for (int64_t i = 0; i < data.K; ++i)
      x[static_cast<size_t>(quant::BF16_T16::index(t, i, data.K))] = float_to_bf16(data.x[static_cast<size_t>(t % kTokens * data.K + i)]);
  std::vector<float> y(static_cast<size_t>(T * data.N), std::nanf(""));
  std::vector<std::byte> scratch(k.scratch(p) + 64);
  auto* aligned = scratch.data() + (64 - reinterpret_cast<uintptr_t>(scratch.data()) % 64) % 64;
  const TensorView in[] = {{p.in[0], x.data()}, {p.in[1], const_cast<std::byte*>(w.data())}}, out[] = {{p.out[0], y.data()}};
  k.run(p, {in, out, {aligned, k.scratch(p)}, pool});
  return y;
}

// Tile products add 32 products at a time, in an order of their own: these kernels agree with themselves, whatever the batch.
// Their sums wait in memory where rows are longer than a chunk of 1536 values, and must not change there.
TEST_CASE("tile products: a token has the same bits in every batch and with every number of threads") {
  if (tiles::isa_with_tiles() < Isa::amx) return;
  Registry registry;
  fill_cpu(registry);
  ThreadPool one(1), two(2), three(3), eight(8);
  int compared = 0;
  quant::Formats::for_each([&]<class F>(F) {
    constexpr int kValues = info(F::dtype).block_values;
    for (const int64_t K : kValues == 256 ? std::vector<int64_t>{256, 1792} : std::vector<int64_t>{32, 288, 2080}) {
      const Data data = random_data<F>(37, K, kSeed);
      std::vector<std::pair<DType, std::vector<std::byte>>> layouts{{F::dtype, data.w}};
      if (const auto r16 = interleaved(F::dtype)) {
        std::vector<std::byte> bytes(static_cast<size_t>(matrix(*r16, data.N, K).bytes()));
        quant::interleave(matrix(F::dtype, data.N, K), data.w.data(), bytes.data());
        layouts.emplace_back(*r16, std::move(bytes));
      }
      std::vector<float> first;  // of the plain layout: interleaved rows are the same weights
      for (const auto& [type, w] : layouts)
        for (const Kernel& k : registry.all()) {
          if (k.op != MatMul::name || k.isa != Isa::amx) continue;
          const auto whole = run_tiles(k, data, type, w, 70, one);
          if (whole.empty()) continue;
          INFO(k.name() << ", K = " << K << ", seed " << kSeed);
          CHECK(std::none_of(whole.begin(), whole.end(), [](float v) { return std::isnan(v); }));
          for (const int64_t T : {9, 16, 17, 32, 33, 48, 64}) CHECK(same_bits(run_tiles(k, data, type, w, T, one), whole));
          for (ThreadPool* pool : {&two, &three, &eight}) CHECK(same_bits(run_tiles(k, data, type, w, 70, *pool), whole));
          if (first.empty()) first = whole;
          CHECK(same_bits(first, whole));
          ++compared;
        }
    }
  });
  CHECK(compared >= 13);
}

}  // namespace
