#include "loaders/tokenizer/special.h"

namespace kerf {

SpecialTexts::SpecialTexts(const Vocab& vocab, bool control) {
  for (size_t id = 0; id < vocab.tokens.size(); ++id) {
    const auto& [text, type, score] = vocab.tokens[id];
    const bool wanted = type == TokenType::user_defined || (control && (type == TokenType::control || type == TokenType::unknown));
    if (!wanted || text.empty()) continue;
    starts_[static_cast<unsigned char>(text[0])] = true;
    uint64_t node = 0;
    for (const char c : text) {
      const auto [at, is_new] = child_.try_emplace(node << 8 | static_cast<unsigned char>(c), static_cast<uint32_t>(token_.size()));
      if (is_new) token_.push_back(-1);
      node = at->second;
    }
    if (token_[node] < 0) token_[node] = static_cast<int32_t>(id);
  }
}

void SpecialTexts::find(std::string_view text, size_t offset, std::vector<SpecialHit>& hits) const {
  for (size_t i = 0; i < text.size();) {
    SpecialHit hit{.begin = i, .end = i};
    if (starts_[static_cast<unsigned char>(text[i])]) {
      uint64_t node = 0;
      for (size_t k = i; k < text.size(); ++k) {
        const auto next = child_.find(node << 8 | static_cast<unsigned char>(text[k]));
        if (next == child_.end()) break;
        node = next->second;
        if (token_[node] >= 0) hit = {.begin = i, .end = k + 1, .id = token_[node]};
      }
    }
    if (hit.end > i) hits.push_back({.begin = hit.begin + offset, .end = hit.end + offset, .id = hit.id});
    i = hit.end > i ? hit.end : i + 1;
  }
}

}  // namespace kerf
