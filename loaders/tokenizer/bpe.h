// Byte-level byte-pair encoding, as GPT-2 introduced it (Radford et al. 2019, section 2.2): a piece of text starts as its
// bytes, so nothing is ever unknown, and adjacent symbols merge in the order of the vocabulary's merge list.
//
// Files spell token texts in the "byte alphabet", where every byte is one printable character: 33..126, 161..172 and
// 174..255 stand for themselves, the other 68 bytes, in order, for U+0100, U+0101, ... (a space is U+0120).
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

/// The bytes a text in the byte alphabet spells; characters outside the alphabet stay as they are, and `whole` becomes false.
std::string from_byte_alphabet(std::string_view text, bool* whole = nullptr);
/// The inverse, for any bytes.
std::string to_byte_alphabet(std::string_view bytes);

/// Merge rules by pair of symbols: open addressing, since every adjacent pair of every text is looked up here.
class PairTable {
 public:
  explicit PairTable(size_t expected);
  /// The first rule of a pair stays.
  void add(uint32_t left, uint32_t right, MergeRule rule);
  MergeRule find(uint32_t left, uint32_t right) const;

 private:
  struct Slot {
    uint64_t key = ~uint64_t{0};
    MergeRule rule{};
  };
  size_t slot(uint64_t key) const;
  std::vector<Slot> slots_;
};

class Bpe {
 public:
  /// Adds warnings to `vocab`: merges of unknown parts, bytes without a token.
  explicit Bpe(Vocab& vocab);
  /// Appends the ids of one piece. `nodes` is scratch, kept between pieces.
  void encode(std::string_view piece, std::vector<int32_t>& ids, std::vector<MergeNode>& nodes) const;

 private:
  // A symbol is a token's id, or, from n_tokens_ on, a string that only appears in merges.
  uint32_t symbol_of(const std::string& bytes);
  void append(uint32_t symbol, std::vector<int32_t>& ids) const;

  uint32_t n_tokens_ = 0;
  bool ignore_merges_ = false;
  std::optional<int32_t> unknown_{};
  std::unordered_map<std::string, uint32_t, TextHash, std::equal_to<>> symbols_{};
  std::vector<std::string> extra_{};  // texts of symbols that are no tokens
  std::array<uint32_t, 256> byte_symbol_{};
  PairTable pairs_;
};

}  // namespace kerf
