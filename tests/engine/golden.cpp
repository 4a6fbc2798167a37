#include "tests/engine/golden.h"

#include <cstring>
#include <nlohmann/json.hpp>

#include "backends/backends.h"
#include "core/error.h"
#include "experiments/io.h"

namespace kerf::test {
namespace {
const std::string kFolder = std::string(KERF_TEST_DATA) + "/golden/";
}

const std::vector<std::string>& golden_names() {
  static const std::vector<std::string> names{"llama", "llama_tied", "qwen2", "qwen3"};
  return names;
}

std::string Golden::path(const std::string& type) const { return kFolder + name + "/" + type + ".gguf"; }

std::vector<float> Golden::oracle(const std::string& rows) const {
  const std::string bytes = read_file(kFolder + name + "/" + rows + ".f32");
  std::vector<float> values(bytes.size() / sizeof(float));
  std::memcpy(values.data(), bytes.data(), bytes.size());
  return values;
}

Golden golden(const std::string& name) {
  const auto j = nlohmann::json::parse(read_file(kFolder + name + "/golden.json"));
  Golden g{.name = name, .tokens_33 = j["tokens_33"], .tokens_150 = j["tokens_150"], .greedy_24 = j["greedy_24"]};
  if (j.contains("llama_cpp_nmse")) g.llama_cpp_nmse = j["llama_cpp_nmse"].get<decltype(g.llama_cpp_nmse)>();
  return g;
}

const Registry& kernels() {
  static const Registry registry = [] {
    Registry r;
    fill_reference(r);
    fill_cpu(r);
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

double nmse(const std::vector<float>& all, const std::vector<float>& want) {
  KERF_CHECK(!want.empty() && all.size() >= want.size(), "fewer rows than the oracle has");
  double error = 0, norm = 0;
  const size_t skip = all.size() - want.size();
  for (size_t i = 0; i < want.size(); ++i) {
    const double w = want[i], d = all[skip + i] - w;
    error += d * d;
    norm += w * w;
  }
  return error / norm;
}

bool same_bits(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

}  // namespace kerf::test
