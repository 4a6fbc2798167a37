// The problems that kernels are measured with: shapes of models that people run.
#pragma once
#include <string>
#include <string_view>
#include <vector>

#include "core/kernel.h"

namespace kerf::bench {

constexpr int64_t kDepth = 2048;  // positions in the cache before the tokens of an attention problem

struct WeightShape {
  int64_t rows = 8960, cols = 1536;  // Qwen2.5-1.5B, feed-forward
};
/// "N,K"; empty: the default. @throws Error(usage)
WeightShape parse_shape(const std::string& text);

/// Problems of an op worth a row: for each format, all batch sizes one after another. `shape` is that of the weights of a matmul.
std::vector<Problem> problems_of(std::string_view op, const WeightShape& shape, const std::vector<int64_t>& tokens);

/// Positions in the cache before the problem's tokens.
int64_t depth_of(const Problem& p);

}  // namespace kerf::bench
