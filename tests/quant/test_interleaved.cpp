// Sixteen rows interleaved: the conversion loses no bit, the kernels read every value as the format defines it, and the order
// of additions depends on nothing but K (backends/cpu/lanes16_dot.h).
#include <algorithm>
#include <cstring>
#include <random>
#include <string>
#include <vector>

#include "backends/backends.h"
#include "core/kernel.h"
#include "core/threadpool.h"
#include "quant/formats.h"
#include "quant/interleaved.h"
#include "quant/q8_g16.h"
#include "tests/catch.h"

namespace {
using namespace kerf;

constexpr uint64_t kSeed = 16;
using Bytes = std::vector<std::byte>;

Registry cpu() {
  Registry registry;
  fill_cpu(registry);
  return registry;
}

/// Random codes; scales of a size that keeps sums finite.
template <class F>
Bytes random_weights(int64_t N, int64_t K) {
  std::mt19937_64 random(kSeed);
  Bytes bytes(static_cast<size_t>(N * row_bytes(F::dtype, K)));
  for (auto& b : bytes) b = static_cast<std::byte>(random());
  std::normal_distribution<float> normal;
  auto* block = reinterpret_cast<typename F::Block*>(bytes.data());
  for (int64_t i = 0; i < N * K / info(F::dtype).block_values; ++i) {
    const auto half = [&] { return float_to_half(normal(random)); };
    block[i].d = half();
    if constexpr (requires { block->dmin; }) block[i].dmin = half();
    if constexpr (requires { block->m; }) block[i].m = half();
  }
  return bytes;
}

TensorView view(const TensorDesc& d, const void* data) { return {d, const_cast<void*>(data)}; }

template <class F>
Bytes interleaved_weights(const Bytes& rows, int64_t N, int64_t K) {
  Bytes tiles(static_cast<size_t>(matrix(quant::Interleaved<F>::dtype, N, K).bytes()));
  quant::interleave(matrix(F::dtype, N, K), rows.data(), tiles.data());
  return tiles;
}

std::vector<float> product(const Kernel& k, const Problem& p, const void* x, const Bytes& w, ThreadPool& pool) {
  std::vector<float> y(static_cast<size_t>(p.out[0].size()), -1.f);
  const TensorView in[] = {view(p.in[0], x), view(p.in[1], w.data())}, out[] = {view(p.out[0], y.data())};
  k.run(p, {in, out, {}, pool});
  return y;
}

/// The kernels that take q8_g16 activations and interleaved weights of this type, on this machine.
template <class Fn>
void for_each_kernel(const Registry& registry, const Problem& p, Fn&& f) {
  for (const Kernel& k : registry.all())
    if (k.op == name_of(p.op) && k.isa <= detect_isa() && k.accepts(p)) f(k);
}

template <class F>
void check_round_trip(const Registry& registry, int64_t N, int64_t blocks) {
  using R = quant::Interleaved<F>;
  const int64_t K = blocks * info(F::dtype).block_values;
  const Bytes rows = random_weights<F>(N, K);
  const Problem p = problem(Convert{R::dtype}, {matrix(F::dtype, N, K)});
  ThreadPool pool(2);
  int kernels = 0;
  for_each_kernel(registry, p, [&](const Kernel& k) {
    ++kernels;
    INFO(k.name() << ", " << N << " rows of " << blocks << " blocks, seed " << kSeed);
    Bytes tiles(static_cast<size_t>(p.out[0].bytes()), std::byte{0xA5});
    const TensorView in[] = {view(p.in[0], rows.data())}, out[] = {view(p.out[0], tiles.data())};
    k.run(p, {in, out, {}, pool});
    CHECK(tiles == interleaved_weights<F>(rows, N, K));
    const typename F::Block zero{};
    std::vector<float> plain(static_cast<size_t>(K)), other(plain);
    for (int64_t r = 0; r < (N + 15) / 16 * 16; ++r) {
      const auto* row = rows.data() + r * row_bytes(F::dtype, K);
      for (int64_t b = 0; b < blocks; ++b) {
        const auto got = R::block(tiles.data() + r / 16 * R::tile_bytes(blocks), blocks, b, static_cast<int>(r % 16));
        if (std::memcmp(&got, r < N ? static_cast<const void*>(row + b * sizeof got) : &zero, sizeof got) != 0) FAIL("row " << r << " block " << b);
      }
      if (r >= N) continue;
      quant::decode_row(F::dtype, row, K, plain.data());
      quant::decode_row_of(p.out[0], tiles.data(), r, other.data());
      CHECK(std::memcmp(plain.data(), other.data(), plain.size() * sizeof(float)) == 0);
    }
  });
  CHECK(kernels >= 1);
}

TEST_CASE("interleaving keeps every block") {
  const Registry registry = cpu();
  quant::AffineFormats::for_each([&]<class F>(F) {
    for (const int64_t N : {1, 16, 37})
      for (const int64_t blocks : {1, 3, 20}) check_round_trip<F>(registry, N, blocks);
  });
}

/// T rows of activations that are one at a position of their own, the first at k0.
Bytes unit_vectors(int64_t T, int64_t K, int64_t k0) {
  const TensorDesc d = matrix(DType::q8_g16, T, K);
  Bytes bytes(static_cast<size_t>(d.bytes()));
  for (int64_t t = 0; t < T; ++t) {
    auto* q = bytes.data() + t * d.row_bytes();
    auto* scale = reinterpret_cast<float*>(q + K);
    q[k0 + t] = std::byte{1};
    scale[(k0 + t) / 16] = scale[(K + k0 + t) / 16] = 1;
  }
  return bytes;
}

TEST_CASE("the kernels read every value of every row as the format defines it") {
  if (detect_isa() < Isa::vnni) return;
  const Registry registry = cpu();
  ThreadPool pool(1);
  quant::AffineFormats::for_each([&]<class F>(F) {
    constexpr int kValues = info(F::dtype).block_values;
    const int64_t N = 16, K = 2 * kValues;
    const Bytes rows = random_weights<F>(N, K), tiles = interleaved_weights<F>(rows, N, K);
    std::vector<float> want(static_cast<size_t>(N * K));
    for (int64_t r = 0; r < N; ++r) quant::decode_row(F::dtype, rows.data() + r * row_bytes(F::dtype, K), K, &want[static_cast<size_t>(r * K)]);
    int kernels = 0;
    for (const int64_t T : {int64_t{1}, int64_t{8}, K}) {
      const Problem p = problem(MatMul{}, {matrix(DType::q8_g16, T, K), matrix(quant::Interleaved<F>::dtype, N, K)});
      for_each_kernel(registry, p, [&](const Kernel& k) {
        ++kernels;
        for (int64_t k0 = 0; k0 + T <= K; k0 += T) {
          const auto y = product(k, p, unit_vectors(T, K, k0).data(), tiles, pool);
          for (int64_t t = 0; t < T; ++t)
            for (int64_t r = 0; r < N; ++r)
              if (const float got = y[static_cast<size_t>(t * N + r)], w = want[static_cast<size_t>(r * K + k0 + t)]; !(got == w))
                FAIL(k.name() << ": row " << r << " value " << k0 + t << " is " << got << ", must be " << w);
        }
      });
    }
    CHECK(kernels >= 3);
  });
}

template <class F>
void check_order(const Registry& registry, int64_t K) {
  constexpr int64_t kTokens = 150, N = 53;  // more than a block of tokens
  const Bytes tiles = interleaved_weights<F>(random_weights<F>(N, K), N, K);
  const TensorDesc rows = matrix(DType::q8_g16, kTokens, K);
  Bytes x(static_cast<size_t>(rows.bytes()));
  std::mt19937_64 random(kSeed + 1);
  std::normal_distribution<float> normal;
  std::vector<float> row(static_cast<size_t>(K));
  for (int64_t t = 0; t < kTokens; ++t) {
    for (auto& v : row) v = normal(random);
    quant::Q8_G16::encode_row(row.data(), K, x.data() + t * rows.row_bytes());
  }
  ThreadPool one(1), two(2), three(3), eight(8);
  const auto of = [&](int64_t T) { return problem(MatMul{}, {matrix(DType::q8_g16, T, K), matrix(quant::Interleaved<F>::dtype, N, K)}); };
  for_each_kernel(registry, of(kTokens), [&](const Kernel& k) {
    INFO(k.name() << ", K = " << K << ", seed " << kSeed);
    const auto whole = product(k, of(kTokens), x.data(), tiles, one);
    for (ThreadPool* pool : {&two, &three, &eight}) CHECK(product(k, of(kTokens), x.data(), tiles, *pool) == whole);
    for (const int64_t T : {1, 2, 3, 4, 5, 6, 7, 8, 9, 15, 17, 32, 129}) {
      const auto part = product(k, of(T), x.data(), tiles, T % 2 ? two : one);
      if (std::memcmp(part.data(), whole.data(), part.size() * sizeof(float)) != 0) FAIL("the first " << T << " tokens have other bits alone");
    }
  });
}

TEST_CASE("a token has the same bits in every batch and with every number of threads, interleaved") {
  const Registry registry = cpu();
  quant::AffineFormats::for_each([&]<class F>(F) {
    // One block, a part of a segment after whole ones.
    for (const int64_t blocks : info(F::dtype).block_values == 256 ? std::vector<int64_t>{1, 5, 9} : std::vector<int64_t>{1, 18, 65})
      check_order<F>(registry, blocks * info(F::dtype).block_values);
  });
}

TEST_CASE("fused products have the bits of the products one by one") {
  if (detect_isa() < Isa::vnni) return;
  const Registry registry = cpu();
  const int64_t T = 3, K = 1280, N = 50;
  const Bytes plain = random_weights<quant::Q6_K>(N, K), tiles = interleaved_weights<quant::Q4_K>(random_weights<quant::Q4_K>(N, K), N, K);
  const Problem p = problem(MatMuls{.count = 2}, {matrix(DType::q8_g16, T, K), matrix(DType::q6_k, N, K), matrix(DType::q4_k_r16, N, K)});
  const Bytes x = [&] {
    std::vector<float> values(static_cast<size_t>(T * K));
    std::mt19937_64 random(kSeed);
    std::normal_distribution<float> normal;
    for (auto& v : values) v = normal(random);
    Bytes bytes(static_cast<size_t>(p.in[0].bytes()));
    for (int64_t t = 0; t < T; ++t) quant::Q8_G16::encode_row(&values[static_cast<size_t>(t * K)], K, bytes.data() + t * p.in[0].row_bytes());
    return bytes;
  }();
  KernelPolicy policy;
  policy.isa = Isa::vnni;
  ThreadPool one(1), three(3);
  for (ThreadPool* pool : {&one, &three}) {
    std::vector<float> y[2];
    for (auto& v : y) v.resize(static_cast<size_t>(T * N));
    const TensorView in[] = {view(p.in[0], x.data()), view(p.in[1], plain.data()), view(p.in[2], tiles.data())};
    const TensorView out[] = {view(p.out[0], y[0].data()), view(p.out[1], y[1].data())};
    const Kernel* fused = registry.best(p, policy);
    REQUIRE(fused);
    fused->run(p, {in, out, {}, *pool});
    for (size_t i = 0; i < 2; ++i) {
      const Problem alone = problem(MatMul{}, {p.in[0], p.in[1 + i]});
      CHECK(product(*registry.best(alone, policy), alone, x.data(), i == 0 ? plain : tiles, one) == y[i]);
    }
  }
}

}  // namespace
