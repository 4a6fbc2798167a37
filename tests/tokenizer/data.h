// Vocabularies and expected ids from tests/data/tokenizer (make_goldens.py writes them).
#pragma once
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "loaders/tokenizer/tokenizer.h"

namespace kerf {

using Ids = std::vector<int32_t>;

inline nlohmann::json load_json(const std::string& name) {
  std::ifstream in(std::string(KERF_TEST_DATA) + "/tokenizer/" + name + ".json");
  if (!in) throw std::runtime_error("no test data " + name);
  return nlohmann::json::parse(in);
}

inline Vocab vocab_of(const nlohmann::json& j) {
  Vocab v;
  v.model = j["model"] == "llama" ? TokenizerModel::spm : TokenizerModel::bpe;
  v.add_space_prefix = v.model == TokenizerModel::spm;
  v.pre = j.value("pre", "");
  v.ignore_merges = j.value("ignore_merges", false);
  v.merges = j.value("merges", std::vector<std::string>{});
  for (size_t i = 0; i < j["tokens"].size(); ++i)
    v.tokens.push_back({.text = j["tokens"][i],
                        .type = static_cast<TokenType>(j["types"][i].get<int>()),
                        .score = j.contains("scores") ? j["scores"][i].get<float>() : 0});
  return v;
}

inline std::string from_hex(const std::string& hex) {
  std::string out;
  for (size_t i = 0; i < hex.size(); i += 2) out += static_cast<char>(std::stoi(hex.substr(i, 2), nullptr, 16));
  return out;
}

inline const std::vector<std::string>& byte_level_names() {
  static const std::vector<std::string> names{"llama-bpe", "qwen2", "qwen35", "smollm", "gpt-2", "default"};
  return names;
}

}  // namespace kerf
