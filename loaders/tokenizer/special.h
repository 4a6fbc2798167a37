// Finding tokens that are matched as whole texts before anything else: <|im_start|>, </s>, <tool_call>, ...
#pragma once
#include <array>
#include <cstdint>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "loaders/tokenizer/vocab.h"

namespace kerf {

struct SpecialHit {
  size_t begin = 0, end = 0;  // in the text
  int32_t id = 0;
};

/// A trie over the bytes of the texts. At each position, left to right, the longest text that starts there wins; a position
/// costs at most the length of the longest special text.
class SpecialTexts {
 public:
  /// User-defined tokens, and control and unknown tokens too if `control`.
  SpecialTexts(const Vocab& vocab, bool control);
  /// Hits in text order, without overlap; positions are moved by `offset`.
  void find(std::string_view text, size_t offset, std::vector<SpecialHit>& hits) const;

 private:
  std::array<bool, 256> starts_{};
  std::unordered_map<uint64_t, uint32_t> child_{};  // (node, byte) -> node
  std::vector<int32_t> token_{-1};                  // by node: the token that ends there, or -1
};

}  // namespace kerf
