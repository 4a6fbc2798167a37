#include "tests/engine/golden.h"

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <span>

#include "backends/backends.h"
#include "core/error.h"
#include "core/half.h"
#include "experiments/io.h"

namespace kerf::test {
namespace {
const std::string kFolder = std::string(KERF_TEST_DATA) + "/golden/";

/// sum (a-b)^2 / sum b^2
double distance(std::span<const float> got, std::span<const float> want) {
  double error = 0, norm = 0;
  for (size_t i = 0; i < want.size(); ++i) {
    const double w = want[i], d = got[i] - w;
    error += d * d;
    norm += w * w;
  }
  return error / norm;
}

std::span<const float> last_rows(const std::vector<float>& all, const std::vector<float>& want) {
  KERF_CHECK(!want.empty() && all.size() >= want.size(), "fewer rows than the oracle has");
  return std::span(all).last(want.size());
}
}  // namespace

const std::vector<std::string>& golden_names() {
  static const std::vector<std::string> names{"llama", "llama_tied", "qwen2", "qwen3"};
  return names;
}

const std::vector<std::string>& tiny_names() {
  static const std::vector<std::string> names{"tiny_mixtral_a",   "tiny_mixtral_b",   "tiny_qwen2_moe_a",   "tiny_qwen2_moe_b",
                                              "tiny_qwen3_moe_a", "tiny_qwen3_moe_b", "tiny_qwen3_next_a",  "tiny_qwen3_next_b",
                                              "tiny_qwen3_5_a",   "tiny_qwen3_5_b",   "tiny_qwen3_5_moe_a", "tiny_qwen3_5_moe_b"};
  return names;
}

const std::vector<std::string>& quantized_expert_names() {
  static const std::vector<std::string> names{"qwen3_moe_kq", "qwen3_5_moe_kq"};
  return names;
}

std::string Golden::path(const std::string& type) const { return kFolder + name + "/" + type + ".gguf"; }

std::vector<float> Golden::oracle(const std::string& rows) const {
  const std::string file = kFolder + name + "/" + rows;
  if (std::filesystem::exists(file + ".f16")) {
    const std::string bytes = read_file(file + ".f16");
    std::vector<uint16_t> halves(bytes.size() / sizeof(uint16_t));
    std::memcpy(halves.data(), bytes.data(), bytes.size());
    std::vector<float> values(halves.size());
    std::transform(halves.begin(), halves.end(), values.begin(), half_to_float);
    return values;
  }
  const std::string bytes = read_file(file + ".f32");
  std::vector<float> values(bytes.size() / sizeof(float));
  std::memcpy(values.data(), bytes.data(), bytes.size());
  return values;
}

Golden golden(const std::string& name) {
  const auto j = nlohmann::json::parse(read_file(kFolder + name + "/golden.json"));
  Golden g{.name = name, .tokens_33 = j["tokens_33"], .tokens_150 = j["tokens_150"], .hybrid = j.value("hybrid", false)};
  const auto read = [&](const char* key, auto& into) {
    if (j.contains(key)) into = j[key].get<std::remove_reference_t<decltype(into)>>();
  };
  read("greedy_24", g.greedy_24);
  read("llama_cpp_nmse", g.llama_cpp_nmse);
  read("llama_cpp_median", g.llama_cpp_median);
  read("greedy_of", g.greedy_of);
  return g;
}

const Registry& kernels() {
  static const Registry registry = [] {
    Registry r;
    fill_reference(r);
    fill_cpu(r);
    fill_emu(r);
    fill_emu64(r);
    return r;
  }();
  return registry;
}

SessionOptions options(const std::string& path, const std::string& backend) {
  SessionOptions o;
  o.model = path;
  o.context = 256;
  o.micro_batch = 150;
  o.max_outputs = 150;
  o.threads = 2;
  o.policy.backends = {backend};
  o.policy.isa = detect_isa();
  return o;
}

std::vector<float> logits(Session& session, const std::vector<int32_t>& tokens, int64_t chunk) {
  const auto n = static_cast<int64_t>(tokens.size());
  if (chunk == 0) chunk = n;
  std::vector<float> all;
  session.rewind(0);
  for (int64_t done = 0; done < n; done += chunk) {
    const int64_t part = std::min(chunk, n - done);
    session.forward({tokens.data() + done, static_cast<size_t>(part)}, part,
                    [&](int64_t, std::span<const float> rows) { all.insert(all.end(), rows.begin(), rows.end()); });
  }
  return all;
}

std::vector<int32_t> greedy(Session& session, const std::vector<int32_t>& prompt, size_t n) {
  session.rewind(0);
  std::vector<int32_t> ids;
  const auto next = [&](std::span<const int32_t> tokens) {
    if (session.result() == PassResult::greedy_ids) return session.forward_greedy(tokens);
    const std::vector<float> logits = session.forward(tokens);
    return static_cast<int32_t>(std::max_element(logits.begin(), logits.end()) - logits.begin());
  };
  ids.push_back(next(prompt));
  while (ids.size() < n) ids.push_back(next({&ids.back(), 1}));
  return ids;
}

double nmse(const std::vector<float>& all, const std::vector<float>& want) { return distance(last_rows(all, want), want); }

double median_nmse(const std::vector<float>& all, const std::vector<float>& want, int64_t n_vocab) {
  const auto got = last_rows(all, want);
  const auto row = static_cast<size_t>(n_vocab);
  std::vector<double> of_position;
  for (size_t i = 0; i < want.size(); i += row) of_position.push_back(distance(got.subspan(i, row), std::span(want).subspan(i, row)));
  const auto middle = of_position.begin() + static_cast<std::ptrdiff_t>(of_position.size() / 2);
  std::nth_element(of_position.begin(), middle, of_position.end());
  return *middle;
}

bool same_bits(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

}  // namespace kerf::test
