// The byte-pair model of SentencePiece (Kudo and Richardson 2018, arXiv:1808.06226), as Llama 2 and its family use it: a
// text starts as its characters, and the adjacent pair that spells the token with the highest score merges first. What the
// vocabulary lacks is spelled in byte tokens <0x00>..<0xFF>. Spaces are U+2581 inside a vocabulary.
#pragma once
#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "loaders/tokenizer/merge.h"
#include "loaders/tokenizer/vocab.h"

namespace kerf {

constexpr std::string_view kSpmSpace = "\xE2\x96\x81";  // U+2581

class Spm {
 public:
  explicit Spm(const Vocab& vocab);
  /// Appends the ids of a text between special tokens. Each such text gets the space prefix, if the vocabulary has one.
  void encode(std::string_view text, std::vector<int32_t>& ids) const;

 private:
  struct Known {
    uint32_t id = 0, rank = 0;
  };
  std::string escape(std::string_view text) const;
  const Known* find(std::string_view text) const;

  bool space_prefix_ = false, trim_spaces_ = false;
  size_t longest_ = 0;
  std::unordered_map<std::string, Known, TextHash, std::equal_to<>> tokens_{};
  std::array<int32_t, 256> byte_token_{};
};

}  // namespace kerf
