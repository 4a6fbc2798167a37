// Kernels that compute together what others compute one by one: the bits must be those of the others in a row. And codes
// that depend on the last bit of a quotient.
#include <fmt/format.h>

#include <cmath>
#include <cstring>

#include "backends/backends.h"
#include "core/threadpool.h"
#include "experiments/kernel_cases.h"
#include "quant/q8_g16.h"
#include "tests/catch.h"

using namespace kerf;

namespace {

using Bytes = std::vector<std::byte>;

const Registry& cpu() {
  static const Registry registry = [] {
    Registry r;
    fill_cpu(r);
    return r;
  }();
  return registry;
}

/// Runs a kernel on copies of `in`; outputs that are newer versions of an input come back as that input was changed.
std::vector<Bytes> run(const Kernel& k, const Problem& p, std::vector<Bytes> in, ThreadPool& pool) {
  std::vector<TensorView> views, results;
  for (size_t i = 0; i < in.size(); ++i) views.push_back({p.in[i], in[i].data()});
  std::vector<Bytes> out;
  for (const auto& d : p.out) out.emplace_back(static_cast<size_t>(d.bytes()), std::byte{0x35});
  for (size_t i = 0; i < p.out.size(); ++i) {
    const auto from = alias_of(p.op, i);
    results.push_back({p.out[i], from ? in[*from].data() : out[i].data()});
  }
  std::vector<std::byte> scratch(k.scratch(p) + 64);
  auto* aligned = reinterpret_cast<std::byte*>((reinterpret_cast<uintptr_t>(scratch.data()) + 63) / 64 * 64);
  k.run(p, {.in = views, .out = results, .scratch = {aligned, k.scratch(p)}, .pool = pool});
  for (size_t i = 0; i < p.out.size(); ++i)
    if (const auto from = alias_of(p.op, i)) out[i] = in[*from];
  return out;
}

}  // namespace

TEST_CASE("rope_cache writes the bits of rope and kv_write of its rung, whatever the types of keys and values") {
  constexpr uint64_t kSeed = 20261121;
  ThreadPool pool(3);
  constexpr DType kTypes[] = {DType::f32, DType::f16, DType::bf16, DType::q8_0, DType::q5_1, DType::q5_0, DType::q4_1, DType::q4_0};
  for (const std::string rung : {"1_plain", "2_simd_avx2", "3_simd_avx512"}) {
    const Kernel *whole = cpu().find("cpu/rope_cache." + rung), *rope = cpu().find("cpu/rope." + rung), *write = cpu().find("cpu/kv_write." + rung);
    REQUIRE((whole && rope && write));
    if (whole->isa > detect_isa()) continue;
    for (const int64_t T : {1, 7, 65})
      for (const DType k : kTypes)
        for (const DType v : kTypes)
          for (const auto pairing : {RopePairing::norm, RopePairing::neox}) {
            const Rope op{.head_dim = 96, .pairing = pairing};
            const auto f32 = [&](int64_t cols) { return matrix(DType::f32, T, cols); };
            const TensorDesc keys{k, {1, 2, 80, 96}}, values{v, {1, 2, 80, 96}};
            const Problem p =
                problem(RopeCache{op}, {f32(6 * 96), f32(2 * 96), f32(2 * 96), f32(T == 7 ? 44 : 96), keys, values, vector_of(DType::i32, T)});
            const auto in = make_inputs(p, DataKind::normal, kSeed).bytes;
            const auto got = run(*whole, p, in, pool);
            const auto rotated = [&](size_t i) {
              const Problem r = problem(op, {p.in[i], p.in[3]});
              return run(*rope, r, {in[i], in[3]}, pool)[0];
            };
            const auto written = [&](size_t state, const Bytes& x, const TensorDesc& d) {
              const Problem w = problem(KvWrite{}, {p.in[state], d, p.in[6]});
              return run(*write, w, {in[state], x, in[6]}, pool)[0];
            };
            INFO(to_text(p) << " by " << rung << ", seed " << kSeed);
            CHECK(got[0] == rotated(0));
            CHECK(got[1] == written(4, rotated(1), p.in[1]));
            CHECK(got[2] == written(5, in[2], p.in[2]));
          }
  }
}

TEST_CASE("q8_g16 codes of quotients next to the middle of two integers are those of the definition") {
  constexpr uint64_t kSeed = 8127;
  constexpr int64_t K = 256 + 32;
  INFO("seed " << kSeed);
  ThreadPool pool(1);
  Random random(kSeed, 0);
  int64_t doubtful = 0;
  for (const std::string rung : {"2_simd_avx2", "3_simd_avx512"}) {
    const Kernel* k = cpu().find("cpu/convert.q8_g16." + rung);
    REQUIRE(k);
    if (k->isa > detect_isa()) continue;
    const Problem p = problem(Convert{DType::q8_g16}, {matrix(DType::f32, 1, K)});
    for (int round = 0; round < 4000; ++round) {
      std::vector<float> x(K);
      const float scale = static_cast<float>(std::exp2(random.uniform() * 40 - 20));
      for (int64_t g = 0; g < K; g += 16) {
        x[g] = scale * static_cast<float>(1 + random.uniform());
        const float d = x[g] / 127;
        for (int64_t i = g + 1; i < g + 16; ++i) {
          const bool near = round % 4 != 0 || i == g + 5;  // every fourth row with one such value a group
          float y = near ? (static_cast<float>(random.below(127)) + 0.5f) * d : static_cast<float>(random.normal()) * scale / 8;
          for (int64_t n = random.below(4); n > 0; --n) y = std::nextafter(y, random.below(2) ? 0.f : 2 * y);
          x[i] = std::fabs(y) <= x[g] ? (random.below(2) ? y : -y) : 0;
          doubtful += near;
        }
      }
      Bytes want(static_cast<size_t>(p.out[0].bytes())), in(static_cast<size_t>(p.in[0].bytes()));
      std::memcpy(in.data(), x.data(), in.size());
      quant::Q8_G16::encode_row(x.data(), K, want.data());
      const bool same = run(*k, p, {in}, pool)[0] == want;
      if (!same) FAIL_CHECK(rung << ", round " << round);
    }
  }
  if (detect_isa() >= Isa::avx2) CHECK(doubtful > 1000000);
}
