// A token's row has the same bits in every batch that one kernel serves, whatever tile its launch chose for so many tokens.
#include <algorithm>

#include "backends/backends.h"
#include "core/threadpool.h"
#include "experiments/kernel_attempt.h"
#include "tests/catch.h"

using namespace kerf;

namespace {

constexpr uint64_t kSeed = 5;

/// The problem with the first T tokens of inputs 0 and `also`.
struct Batch {
  Problem p;
  KernelInputs in;
};
Batch first_tokens(const Problem& whole, const KernelInputs& in, int64_t T, size_t also) {
  std::vector<TensorDesc> descs = whole.in;
  KernelInputs part = in;
  for (const size_t i : {size_t{0}, also}) {
    descs[i] = matrix(descs[i].dtype, T, descs[i].cols());
    part.bytes[i].resize(static_cast<size_t>(descs[i].bytes()));
  }
  return {problem(whole.op, descs), part};
}

/// Every kernel of the device that takes f32 rows and the smallest batch: each batch begins with the bits of the whole one.
void check_batches(const std::string& backend, const Problem& whole, size_t also, std::initializer_list<int64_t> batches) {
  Registry registry;
  fill_all(registry);
  const auto device = make_device(backend + ":0=1GiB", device_kinds());
  ThreadPool pool(2);
  const KernelInputs in = make_inputs(whole, DataKind::normal, kSeed);
  for (const Kernel& k : registry.all()) {
    if (k.backend != backend || k.op != name_of(whole.op) || k.variant < "3" || !k.accepts(whole)) continue;
    INFO(k.name() << ", " << to_text(whole));
    const auto all = attempt(k, whole, in, pool, kPatterns[0], device.get());
    REQUIRE(all.failure == "");
    for (const int64_t T : batches) {
      const Batch b = first_tokens(whole, in, T, also);
      REQUIRE(k.accepts(b.p));
      const auto some = attempt(k, b.p, b.in, pool, kPatterns[1], device.get());
      INFO(T << " tokens");
      REQUIRE(some.failure == "");
      CHECK(std::equal(some.out[0].begin(), some.out[0].end(), all.out[0].begin()));
    }
  }
}

}  // namespace

TEST_CASE("a token's products have the same bits in batches of every size") {
  for (const std::string backend : {"emu", "emu64"})
    for (const DType t : {DType::f16, DType::bf16, DType::q8_0, DType::q4_k, DType::q6_k}) {
      const int64_t K = info(t).block_values == 256 ? 512 : 96;
      check_batches(backend, problem(MatMul{}, {matrix(DType::f32, 70, K), matrix(t, 37, K)}), 0, {9, 16, 17, 33, 64});
    }
}

TEST_CASE("a token's products with experts do too") {
  // Two of three experts a token: 8 and 12 slots an expert for tiles of 16, up to 24 for tiles of 32, more for tiles of 64.
  const int64_t X = 3;
  for (const std::string backend : {"emu", "emu64"})
    for (const DType t : {DType::f16, DType::bf16, DType::q8_0, DType::q4_k}) {
      const int64_t K = info(t).block_values == 256 ? 256 : 96;
      check_batches(backend, problem(ExpertMatMul{}, {matrix(DType::f32, 70, K), {t, {1, X, 37, K}}, matrix(DType::i32, 70, 2)}), 2,
                    {12, 18, 19, 36, 37});
    }
}
