// What the tiled kernels promise beyond being right: a token's bits do not depend on the other tokens of the batch.
#include <algorithm>
#include <cstring>

#include "backends/backends.h"
#include "experiments/kernel_check.h"
#include "tests/catch.h"

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

TEST_CASE("one token alone, four at a time and the whole batch give the same bits") {
  Registry registry;
  fill_cpu(registry);
  ThreadPool pool(2);
  const uint64_t seed = 5;
  int kernels = 0;
  for (const auto& k : registry.all()) {
    if (k.op != Attention::name || k.isa > detect_isa()) continue;
    ++kernels;
    for (const Setup& s : {Setup{70, 64, 1, 3, 0, 80, 0, DType::f16},
                           {33, 128, 2, 6, 500, 540, 0, DType::f16},
                           {40, 80, 1, 4, 240, 300, 50, DType::f32},
                           {20, 33, 3, 1, 250, 280, 0, DType::f32}}) {
      const Problem whole = attention_of(s, s.T);
      auto inputs = make_inputs(whole, DataKind::normal, seed, s.depth);
      const auto all = run(k, whole, inputs.bytes, 0, pool);
      const auto width = static_cast<size_t>(whole.out[0].cols());
      for (const int64_t step : {1, 3, 4, 9})
        for (int64_t t = 0; t < s.T; t += step) {
          const int64_t n = std::min(step, s.T - t);
          const auto part = run(k, attention_of(s, n), inputs.bytes, t, pool);
          INFO(k.name() << " token " << t << " in groups of " << step << ", head size " << s.hd << ", seed " << seed);
          CHECK(std::memcmp(part.data(), all.data() + static_cast<size_t>(t) * width, part.size() * sizeof(float)) == 0);
        }
    }
  }
  CHECK(kernels >= 1);
}

}  // namespace
}  // namespace kerf
