#include "experiments/bench_problems.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>

#include "core/error.h"
#include "core/text.h"

namespace kerf::bench {

WeightShape parse_shape(const std::string& text) {
  WeightShape s;
  if (text.empty()) return s;
  const char* end = text.data() + text.size();
  const auto [comma, failed] = std::from_chars(text.data(), end, s.rows);
  const bool ok = failed == std::errc{} && comma != end && *comma == ',';
  const auto [last, failed_too] = ok ? std::from_chars(comma + 1, end, s.cols) : std::from_chars_result{end, std::errc::invalid_argument};
  constexpr int64_t kMost = int64_t{1} << 20;
  if (!ok || failed_too != std::errc{} || last != end || s.rows < 1 || s.cols < 1 || s.rows > kMost || s.cols > kMost)
    throw Error(ErrorKind::usage, fmt::format("expected N,K, each from 1 to 2^20, got \"{}\"", printable(text)), "--shape");
  return s;
}

std::vector<Problem> problems_of(std::string_view op, const WeightShape& shape, const std::vector<int64_t>& tokens) {
  std::vector<Problem> all;
  constexpr int64_t kWidth = 2048, kRows = 8192, kHead = 128, kHeads = 12, kKvHeads = 2;
  constexpr int64_t kExperts = 128, kUsed = 8, kExpertRows = 768, kExpertWidth = 2048;  // Qwen3 30B-A3B
  constexpr int64_t kKeyHeads = 16, kValueHeads = 32, kTaps = 4;                        // Qwen3.5 35B-A3B
  constexpr int64_t kVocab = 151936;                                                    // Qwen2.5, Qwen3
  const int64_t context = kDepth + *std::max_element(tokens.begin(), tokens.end());
  const auto each = [&](auto&& f) {
    for (const int64_t T : tokens) f(T);
  };
  for (const auto& row : kDTypes) {
    const DType t = row.dtype;
    const bool weights = (row.gguf_id >= 0 || row.tile_rows > 1) && shape.cols % row.block_values == 0;
    const TensorDesc w = matrix(t, shape.rows, shape.cols), cache{t, {1, kKvHeads, context, kHead}};
    if (weights && (op == MatMul::name || op == MatMuls::name || op == MatMulSwiGlu::name))
      for (const auto& format : kDTypes) {
        if (format.gguf_id >= 0 && format.dtype != DType::f32) continue;
        if (shape.cols % format.block_values != 0) continue;
        each([&](int64_t T) {
          const TensorDesc x = matrix(format.dtype, T, shape.cols);
          if (op == MatMul::name) all.push_back(problem(MatMul{}, {x, w}));
          if (op == MatMuls::name) all.push_back(problem(MatMuls{.count = 1, .add = true}, {x, w, matrix(DType::f32, T, shape.rows)}));
          if (op == MatMulSwiGlu::name) all.push_back(problem(MatMulSwiGlu{}, {x, w, w}));
        });
      }
    if (row.gguf_id < 0) continue;
    if (op == ExpertMatMul::name || op == ExpertSwiGlu::name || op == ExpertMatMulSum::name)
      for (const auto& format : kDTypes) {
        const bool down = op == ExpertMatMulSum::name;
        const int64_t rows = down ? kExpertWidth : kExpertRows, cols = down ? kExpertRows : kExpertWidth;
        if ((format.gguf_id >= 0 && format.dtype != DType::f32) || cols % format.block_values != 0 || cols % row.block_values != 0) continue;
        each([&](int64_t T) {
          const TensorDesc experts{t, {1, kExperts, rows, cols}}, ids = matrix(DType::i32, T, kUsed);
          const TensorDesc x = matrix(format.dtype, down ? T * kUsed : T, cols);
          if (op == ExpertMatMul::name) all.push_back(problem(ExpertMatMul{}, {x, experts, ids}));
          if (op == ExpertSwiGlu::name) all.push_back(problem(ExpertSwiGlu{}, {x, experts, experts, ids}));
          if (down) all.push_back(problem(ExpertMatMulSum{}, {x, experts, ids, matrix(DType::f32, T, kUsed)}));
        });
      }
    each([&](int64_t T) {
      const TensorDesc positions = vector_of(DType::i32, T), q = matrix(DType::f32, T, kHeads * kHead), k = matrix(DType::f32, T, kKvHeads * kHead);
      if (op == Rows::name) all.push_back(problem(Rows{}, {matrix(t, kRows, kWidth), positions}));
      if (op == KvWrite::name) all.push_back(problem(KvWrite{}, {cache, k, positions}));
      if (op == Attention::name) all.push_back(problem(Attention{.n_head = kHeads, .scale = 0.088f}, {q, cache, cache, positions}));
      if (op == RopeCache::name)
        all.push_back(problem(RopeCache{.rope = {.head_dim = kHead, .pairing = RopePairing::neox}},
                              {q, k, k, matrix(DType::f32, T, kHead), cache, cache, positions}));
    });
    if (op == Convert::name && t != DType::f32 && weights) all.push_back(problem(Convert{.to = DType::f16}, {w}));
    if (op == Convert::name && interleaved(t) && weights) all.push_back(problem(Convert{.to = *interleaved(t)}, {w}));
  }
  each([&](int64_t T) {
    const TensorDesc x = matrix(DType::f32, T, kWidth), wide = matrix(DType::f32, T, kRows);
    if (op == Add::name) all.push_back(problem(Add{}, {x, x}));
    if (op == RmsNorm::name) all.push_back(problem(RmsNorm{}, {x, vector_of(DType::f32, kWidth)}));
    if (op == RopeTable::name) all.push_back(problem(RopeTable{.dims = kHead}, {vector_of(DType::i32, T)}));
    if (op == Rope::name) all.push_back(problem(Rope{.head_dim = kHead, .pairing = RopePairing::neox}, {x, matrix(DType::f32, T, kHead)}));
    if (op == SwiGlu::name) all.push_back(problem(SwiGlu{}, {wide, wide}));
    const TensorDesc keys = matrix(DType::f32, T, kKeyHeads * kHead), values = matrix(DType::f32, T, kValueHeads * kHead);
    const TensorDesc gates = matrix(DType::f32, T, kValueHeads), per_head = vector_of(DType::f32, kValueHeads), positions = vector_of(DType::i32, T);
    const int64_t channels = 2 * keys.cols() + values.cols();
    if (op == Columns::name) all.push_back(problem(Columns{.group = 2 * kHead, .count = kHead}, {values}));
    if (op == SigmoidGate::name) all.push_back(problem(SigmoidGate{}, {values, values}));
    if (op == Router::name) all.push_back(problem(Router{.used = kUsed}, {matrix(DType::f32, T, kExperts)}));
    if (op == Argmax::name) all.push_back(problem(Argmax{}, {matrix(DType::f32, T, kVocab)}));
    if (op == ExpertSum::name) all.push_back(problem(ExpertSum{}, {matrix(DType::f32, T * kUsed, kWidth), matrix(DType::f32, T, kUsed)}));
    if (op == L2Norm::name) all.push_back(problem(L2Norm{.group = kHead}, {keys}));
    if (op == CausalConv::name)
      all.push_back(problem(CausalConv{.keys = keys.cols()}, {matrix(DType::f32, T, channels), matrix(DType::f32, channels, kTaps),
                                                              matrix(DType::f32, kTaps - 1, channels), positions}));
    if (op == DeltaGates::name) all.push_back(problem(DeltaGates{}, {gates, per_head, per_head, gates}));
    if (op == GatedDeltaRule::name)
      all.push_back(problem(GatedDeltaRule{.n_head_k = kKeyHeads, .scale = 0.088f},
                            {keys, keys, values, gates, gates, {DType::f32, {1, kValueHeads, kHead, kHead}}, positions}));
    if (op == GatedRmsNorm::name) all.push_back(problem(GatedRmsNorm{}, {values, vector_of(DType::f32, kHead), values}));
    if (op == Convert::name)
      for (const auto& format : kDTypes)
        if (format.gguf_id < 0 && kWidth % format.block_values == 0) all.push_back(problem(Convert{.to = format.dtype}, {x}));
  });
  return all;
}

int64_t depth_of(const Problem& p) {
  const bool cached = std::holds_alternative<Attention>(p.op) || std::holds_alternative<KvWrite>(p.op) || std::holds_alternative<RopeCache>(p.op);
  return cached ? kDepth : 0;
}

}  // namespace kerf::bench
