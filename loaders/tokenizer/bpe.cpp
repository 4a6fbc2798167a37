#include "loaders/tokenizer/bpe.h"

#include <fmt/format.h>

#include <bit>

#include "core/error.h"
#include "loaders/tokenizer/utf8.h"

namespace kerf {
namespace {

constexpr bool stands_for_itself(unsigned byte) { return (byte >= 33 && byte <= 126) || (byte >= 161 && byte <= 172) || byte >= 174; }

constexpr char32_t kFirstOther = 0x100;

struct Alphabet {
  std::array<char32_t, 256> character{};
  std::array<int, kFirstOther + 68> byte{};  // by character; -1: not in the alphabet
};

constexpr Alphabet make_alphabet() {
  Alphabet a;
  for (auto& b : a.byte) b = -1;
  char32_t other = kFirstOther;
  for (unsigned b = 0; b < 256; ++b) {
    a.character[b] = stands_for_itself(b) ? char32_t{b} : other++;
    a.byte[a.character[b]] = static_cast<int>(b);
  }
  return a;
}

constexpr Alphabet kAlphabet = make_alphabet();

}  // namespace

std::string from_byte_alphabet(std::string_view text, bool* whole) {
  std::string out;
  if (whole) *whole = true;
  for (size_t i = 0; i < text.size();) {
    const size_t n = utf8_character(text, i);
    const char32_t c = n == 0 ? char32_t{0xFFFF} : code_point(text, i, n);
    const int byte = c < kAlphabet.byte.size() ? kAlphabet.byte[c] : -1;
    if (byte >= 0) {
      out += static_cast<char>(byte);
    } else {
      out.append(text, i, n == 0 ? 1 : n);
      if (whole) *whole = false;
    }
    i += n == 0 ? 1 : n;
  }
  return out;
}

std::string to_byte_alphabet(std::string_view bytes) {
  std::string out;
  for (const char c : bytes) append_utf8(out, kAlphabet.character[static_cast<unsigned char>(c)]);
  return out;
}

PairTable::PairTable(size_t expected) : slots_(std::bit_ceil(2 * expected + 1)) {}

size_t PairTable::slot(uint64_t key) const {
  const size_t mask = slots_.size() - 1;
  size_t i = static_cast<size_t>((key * 0x9E3779B97F4A7C15u) >> 32) & mask;  // multiplicative hashing, Knuth vol. 3, 6.4
  while (slots_[i].key != key && slots_[i].key != ~uint64_t{0}) i = (i + 1) & mask;
  return i;
}

void PairTable::add(uint32_t left, uint32_t right, MergeRule rule) {
  const uint64_t key = uint64_t{left} << 32 | right;
  Slot& s = slots_[slot(key)];
  if (s.key != key) s = {.key = key, .rule = rule};
}

MergeRule PairTable::find(uint32_t left, uint32_t right) const { return slots_[slot(uint64_t{left} << 32 | right)].rule; }

uint32_t Bpe::symbol_of(const std::string& bytes) {
  const auto [at, is_new] = symbols_.try_emplace(bytes, n_tokens_ + static_cast<uint32_t>(extra_.size()));
  if (is_new) extra_.push_back(bytes);
  return at->second;
}

Bpe::Bpe(Vocab& vocab) : n_tokens_(static_cast<uint32_t>(vocab.tokens.size())), ignore_merges_(vocab.ignore_merges), pairs_(vocab.merges.size()) {
  // Some files name an end-of-text token as the unknown one; bytes of a user must not become that.
  if (const auto unk = vocab.special.unk; unk && vocab.tokens[static_cast<size_t>(*unk)].type == TokenType::unknown) unknown_ = unk;
  // Tokens with a meaning of their own (control, user-defined, ...) are matched as texts before merging, if at all: no
  // merge may produce them, or a user's text could end an answer.
  symbols_.reserve(vocab.tokens.size() + 256);
  for (uint32_t id = 0; id < n_tokens_; ++id) {
    const Token& token = vocab.tokens[id];
    if (token.type != TokenType::normal && token.type != TokenType::unused) continue;
    // A text outside the alphabet (Command-R has a bare U+200D) is no sequence of bytes: no merge can reach it, and it
    // must not stand in for the token that spells the same bytes.
    bool whole = false;
    std::string bytes = from_byte_alphabet(token.text, &whole);
    if (whole) symbols_.try_emplace(std::move(bytes), id);
  }
  size_t no_token = 0;
  for (unsigned b = 0; b < 256; ++b) {
    byte_symbol_[b] = symbol_of(std::string(1, static_cast<char>(b)));
    no_token += byte_symbol_[b] >= n_tokens_;
  }
  if (no_token > 0)
    vocab.warnings.push_back(
        fmt::format("{} of 256 bytes are no tokens: they are {}", no_token, unknown_ ? "encoded as the unknown token" : "left out of texts"));
  size_t unknown_parts = 0;
  for (size_t rank = 0; rank < vocab.merges.size(); ++rank) {
    const std::string& merge = vocab.merges[rank];
    const size_t space = merge.find(' ', 1);
    KERF_CHECK(space != std::string::npos, fmt::format("merge {} has one part: the vocabulary was not checked", rank));
    bool left_whole = false, right_whole = false;
    const std::string left = from_byte_alphabet(std::string_view(merge).substr(0, space), &left_whole);
    const std::string right = from_byte_alphabet(std::string_view(merge).substr(space + 1), &right_whole);
    if (!left_whole || !right_whole) {
      ++unknown_parts;
      continue;
    }
    const uint32_t l = symbol_of(left), r = symbol_of(right);
    unknown_parts += l >= n_tokens_ || r >= n_tokens_;
    pairs_.add(l, r, {.rank = static_cast<uint32_t>(rank), .result = symbol_of(left + right)});
  }
  if (unknown_parts > 0) vocab.warnings.push_back(fmt::format("{} of {} merges have a part that is no token", unknown_parts, vocab.merges.size()));
}

void Bpe::append(uint32_t symbol, std::vector<int32_t>& ids) const {
  if (symbol < n_tokens_) return ids.push_back(static_cast<int32_t>(symbol));
  for (const char c : extra_[symbol - n_tokens_]) {
    const uint32_t byte = byte_symbol_[static_cast<unsigned char>(c)];
    if (byte < n_tokens_)
      ids.push_back(static_cast<int32_t>(byte));
    else if (unknown_)
      ids.push_back(*unknown_);
  }
}

void Bpe::encode(std::string_view piece, std::vector<int32_t>& ids, std::vector<MergeNode>& nodes) const {
  if (ignore_merges_)
    if (const auto whole = symbols_.find(piece); whole != symbols_.end() && whole->second < n_tokens_)
      return ids.push_back(static_cast<int32_t>(whole->second));
  link(nodes, piece.size());
  for (size_t i = 0; i < piece.size(); ++i) nodes[i].symbol = byte_symbol_[static_cast<unsigned char>(piece[i])];
  merge_all(nodes, [&](uint32_t left, uint32_t right) { return pairs_.find(nodes[left].symbol, nodes[right].symbol); });
  for (uint32_t i = 0; i < nodes.size(); i = nodes[i].next) append(nodes[i].symbol, ids);
}

}  // namespace kerf
