// The golden models and sessions over them.
#pragma once
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "experiments/session.h"

namespace kerf::test {

struct Golden {
  std::string name{};
  std::vector<int32_t> tokens_33{}, tokens_150{}, greedy_24{};
  std::map<std::string, std::map<std::string, double>> llama_cpp_nmse{};  // by file type and rows
  std::string path(const std::string& type) const;
  /// Oracle rows: "f16_33", "f16_150_last8", "Q4_K_M_33_last8" ...
  std::vector<float> oracle(const std::string& rows) const;
};
const std::vector<std::string>& golden_names();
Golden golden(const std::string& name);

const Registry& kernels();
/// Options of a session on a golden file: a context of 256, all rows of logits possible.
SessionOptions options(const std::string& path, const std::string& backend);

/// Logits [n, V] of all positions, fed `chunk` tokens at a time (0: all at once).
std::vector<float> logits(Session& session, const std::vector<int32_t>& tokens, int64_t chunk = 0);
/// The last rows of `all` that `want` has, compared: sum (a-b)^2 / sum b^2.
double nmse(const std::vector<float>& all, const std::vector<float>& want);
bool same_bits(const std::vector<float>& a, const std::vector<float>& b);

}  // namespace kerf::test
