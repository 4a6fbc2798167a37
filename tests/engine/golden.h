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
  bool hybrid = false;                                                    // has layers with Gated DeltaNet
  std::map<std::string, std::map<std::string, double>> llama_cpp_nmse{};  // by file type and rows
  std::map<std::string, double> llama_cpp_median{};                       // models of experts: over the positions of tokens_33
  std::map<std::string, std::vector<int32_t>> greedy_of{};                // models of experts: of a file type
  std::string path(const std::string& type) const;
  /// Oracle rows: "f16_33", "f16_150_last8", "Q4_K_M_33_last8" ..., "Q4_K_M_33_all" (stored as f16).
  std::vector<float> oracle(const std::string& rows) const;
};
/// Dense models, each with an F16 file.
const std::vector<std::string>& golden_names();
/// Models of experts and hybrids, small enough for an F16 file each: two of every architecture.
const std::vector<std::string>& tiny_names();
/// Models of experts with K-quants, which have no F16 file.
const std::vector<std::string>& quantized_expert_names();
Golden golden(const std::string& name);

const Registry& kernels();
/// Options of a session on a golden file: a context of 256, all rows of logits possible.
SessionOptions options(const std::string& path, const std::string& backend);

/// Logits [n, V] of all positions, fed `chunk` tokens at a time (0: all at once).
std::vector<float> logits(Session& session, const std::vector<int32_t>& tokens, int64_t chunk = 0);
/// The continuation of a prompt, from position 0: each time the most probable token, from whatever the session's passes give.
std::vector<int32_t> greedy(Session& session, const std::vector<int32_t>& prompt, size_t n);
/// The last rows of `all` that `want` has, compared: sum (a-b)^2 / sum b^2.
double nmse(const std::vector<float>& all, const std::vector<float>& want);
/// The median over positions of the same, for rows of `n_vocab`: one position with other experts than the oracle's does not move it.
double median_nmse(const std::vector<float>& all, const std::vector<float>& want, int64_t n_vocab);
bool same_bits(const std::vector<float>& a, const std::vector<float>& b);

}  // namespace kerf::test
