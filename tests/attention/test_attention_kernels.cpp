// What the tiled kernels promise beyond being right: a token's bits do not depend on the other tokens of the batch.
#include <algorithm>
#include <cstring>

#include "backends/backends.h"
#include "experiments/kernel_check.h"
#include "tests/catch.h"
#include "tests/kernels/tile_emulator.h"

namespace kerf {
namespace {

struct Setup {
  int64_t T, hd;
  int n_kv, group;
  int64_t depth, n_ctx;
  int window;
  DType kv;
};

Problem attention_of(const Setup& s, int64_t tokens) {
  const TensorDesc state{s.kv, {1, s.n_kv, s.n_ctx, s.hd}};
  const int n_head = s.n_kv * s.group;
  return problem(Attention{.n_head = n_head, .scale = 0.11f, .window = s.window},
                 {matrix(DType::f32, tokens, n_head * s.hd), state, state, vector_of(DType::i32, tokens)});
}

std::vector<float> run(const Kernel& k, const Problem& p, std::vector<std::vector<std::byte>>& bytes, int64_t first, ThreadPool& pool) {
  std::vector<float> out(static_cast<size_t>(p.out[0].size()));
  std::vector<std::byte> scratch(k.scratch(p) + 64);
  auto* aligned = scratch.data() + (64 - reinterpret_cast<uintptr_t>(scratch.data()) % 64) % 64;
  const std::vector<TensorView> in{{p.in[0], bytes[0].data() + first * p.in[0].row_bytes()},
                                   {p.in[1], bytes[1].data()},
                                   {p.in[2], bytes[2].data()},
                                   {p.in[3], bytes[3].data() + first * 4}};
  const TensorView result{p.out[0], out.data()};
  k.run(p, {in, {&result, 1}, {aligned, k.scratch(p)}, pool});
  return out;
}

constexpr Setup kSetups[] = {{70, 64, 1, 3, 0, 80, 0, DType::f16},       {33, 128, 2, 6, 500, 540, 0, DType::f16},
                             {40, 80, 1, 4, 240, 300, 50, DType::f32},   {20, 33, 3, 1, 250, 280, 0, DType::f32},
                             {34, 96, 1, 6, 1000, 1040, 0, DType::q8_0}, {28, 64, 2, 4, 90, 120, 30, DType::q5_1},
                             {18, 128, 1, 1, 500, 520, 0, DType::q4_0}};

TEST_CASE("a token has the same bits however the batch is cut, within what a kernel accepts") {
  Registry registry;
  fill_cpu(registry);
  ThreadPool pool(2);
  const uint64_t seed = 5;
  const Isa isa = tiles::isa_with_tiles();
  for (const auto& k : registry.all()) {
    if (k.op != Attention::name || k.isa > isa) continue;
    int compared = 0;
    for (const Setup& s : kSetups) {
      // A kernel for few rows never takes the whole batch, one for many takes no single token: its own widest and narrower cuts.
      int64_t widest = s.T;
      while (widest > 0 && !k.accepts(attention_of(s, widest))) --widest;
      if (widest == 0) continue;
      const Problem whole = attention_of(s, widest);
      auto inputs = make_inputs(whole, DataKind::normal, seed, s.depth);
      const auto all = run(k, whole, inputs.bytes, 0, pool);
      const auto width = static_cast<size_t>(whole.out[0].cols());
      for (const int64_t step : {1, 2, 3, 4, 9, 17})
        for (int64_t t = 0; t + step <= widest; t += step) {
          if (!k.accepts(attention_of(s, step))) continue;
          ++compared;
          const auto part = run(k, attention_of(s, step), inputs.bytes, t, pool);
          INFO(k.name() << " token " << t << " in groups of " << step << ", head size " << s.hd << ", " << name_of(s.kv) << ", seed " << seed);
          CHECK(std::memcmp(part.data(), all.data() + static_cast<size_t>(t) * width, part.size() * sizeof(float)) == 0);
        }
    }
    INFO(k.name());
    CHECK(compared > 0);
  }
}

TEST_CASE("any number of threads gives the same bits") {
  Registry registry;
  fill_cpu(registry);
  const uint64_t seed = 6;
  const Isa isa = tiles::isa_with_tiles();
  ThreadPool one(1), two(2), five(5);
  for (const auto& k : registry.all()) {
    if (k.op != Attention::name || k.isa > isa) continue;
    for (const Setup& s : kSetups)
      for (const int64_t tokens : {int64_t{1}, int64_t{2}, s.T}) {
        const Problem p = attention_of(s, tokens);
        if (!k.accepts(p)) continue;
        auto inputs = make_inputs(p, DataKind::normal, seed, s.depth);
        const auto want = run(k, p, inputs.bytes, 0, one);
        for (ThreadPool* pool : {&two, &five}) {
          INFO(k.name() << " " << tokens << " tokens, head size " << s.hd << ", " << name_of(s.kv) << ", " << pool->size() << " threads, seed "
                        << seed);
          const auto got = run(k, p, inputs.bytes, 0, *pool);
          CHECK(std::memcmp(got.data(), want.data(), want.size() * sizeof(float)) == 0);
        }
      }
  }
}

TEST_CASE("quantized caches need heads of whole blocks, and the refusal says so") {
  Registry registry;
  fill_cpu(registry);
  fill_reference(registry);
  for (const auto& k : registry.all()) {
    if (k.op == KvWrite::name) {
      const auto problem_of = [](DType t, int64_t hd) {
        return Problem{KvWrite{}, {{t, {1, 2, 8, hd}}, matrix(DType::f32, 1, 2 * hd), vector_of(DType::i32, 1)}, {{t, {1, 2, 8, hd}}}};
      };
      INFO(k.name());
      CHECK(k.accepts(problem_of(DType::q4_0, 64)));
      CHECK(k.accepts(problem_of(DType::q4_0, 80)).why_not.find("blocks of 32") != std::string::npos);
      CHECK_FALSE(k.accepts(problem_of(DType::q4_k, 256)));
    }
    if (k.op == Attention::name && k.backend == "cpu") {
      Setup s{1, 80, 1, 1, 0, 8, 0, DType::q8_0};
      INFO(k.name());
      CHECK_FALSE(k.accepts(attention_of(s, 1)));
    }
  }
}

/// The kernel that would run the problem on a machine with `isa`.
std::string chosen(const Setup& s, int64_t tokens, Isa isa) {
  Registry registry;
  fill_cpu(registry);
  const Kernel* k = registry.best(attention_of(s, tokens), {.isa = isa});
  return k == nullptr ? "none" : k->name();
}

TEST_CASE("every instruction set has a kernel for every cache") {
  for (const DType t : {DType::f32, DType::f16, DType::bf16, DType::q8_0, DType::q5_1, DType::q5_0, DType::q4_1, DType::q4_0}) {
    const Setup s{1, 128, 2, 6, 0, 100, 0, t};
    CHECK(chosen(s, 1, Isa::base) == "cpu/attention.1_online");
    CHECK(chosen(s, 64, Isa::avx2) == "cpu/attention.2_tiled.avx2");
    CHECK(chosen(s, 64, Isa::avx512) == "cpu/attention.3_tiled.avx512");
    CHECK(chosen(s, 1, Isa::vnni) == "cpu/attention.5_split.vnni");
    CHECK(chosen(s, 64, Isa::vnni) == "cpu/attention.3_tiled.avx512");
    CHECK(chosen(s, 1, Isa::amx) == "cpu/attention.5_split.vnni");
    CHECK(chosen(s, 64, Isa::amx).ends_with(".amx"));
  }
}

}  // namespace
}  // namespace kerf
