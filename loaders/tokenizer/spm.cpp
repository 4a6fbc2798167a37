#include "loaders/tokenizer/spm.h"

#include <algorithm>
#include <numeric>

#include "core/error.h"
#include "loaders/tokenizer/utf8.h"

namespace kerf {

Spm::Spm(const Vocab& vocab) : space_prefix_(vocab.add_space_prefix), trim_spaces_(vocab.remove_extra_whitespaces) {
  // Ranks by falling score; tokens of one score share a rank, so that the leftmost of them merges first.
  std::vector<uint32_t> order(vocab.tokens.size());
  std::iota(order.begin(), order.end(), 0u);
  std::stable_sort(order.begin(), order.end(), [&](uint32_t a, uint32_t b) { return vocab.tokens[a].score > vocab.tokens[b].score; });
  std::vector<uint32_t> rank(order.size());
  for (size_t i = 1; i < order.size(); ++i) rank[order[i]] = rank[order[i - 1]] + (vocab.tokens[order[i]].score != vocab.tokens[order[i - 1]].score);

  byte_token_.fill(-1);
  for (uint32_t id = 0; id < vocab.tokens.size(); ++id) {
    const Token& token = vocab.tokens[id];
    if (token.type == TokenType::byte)
      if (const auto byte = byte_of(token.text); byte && byte_token_[*byte] < 0) byte_token_[*byte] = static_cast<int32_t>(id);
    // As in SentencePiece, text never becomes a control, unknown or byte token by spelling it.
    if (token.type != TokenType::normal && token.type != TokenType::user_defined && token.type != TokenType::unused) continue;
    if (tokens_.try_emplace(token.text, Known{.id = id, .rank = rank[id]}).second) longest_ = std::max(longest_, token.text.size());
  }
  KERF_CHECK(std::find(byte_token_.begin(), byte_token_.end(), -1) == byte_token_.end(),
             "an SPM vocabulary without all byte tokens: it was not checked");
}

const Spm::Known* Spm::find(std::string_view text) const {
  if (text.size() > longest_) return nullptr;
  const auto at = tokens_.find(text);
  return at == tokens_.end() ? nullptr : &at->second;
}

std::string Spm::escape(std::string_view text) const {
  if (trim_spaces_) {
    const size_t first = text.find_first_not_of(' ');
    text = first == std::string_view::npos ? std::string_view{} : text.substr(first, text.find_last_not_of(' ') - first + 1);
  }
  std::string out;
  if (text.empty()) return out;
  out.reserve(text.size() + kSpmSpace.size());
  if (space_prefix_) out += kSpmSpace;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] != ' ')
      out += text[i];
    else if (!trim_spaces_ || text[i - 1] != ' ')
      out += kSpmSpace;
  }
  return out;
}

void Spm::encode(std::string_view raw, std::vector<int32_t>& ids) const {
  const std::string escaped = escape(raw);
  const std::string_view text = escaped;
  std::vector<size_t> begin;
  for (size_t i = 0; i < text.size(); i += std::max<size_t>(utf8_character(text, i), 1)) begin.push_back(i);
  if (begin.size() >= kNone) throw Error(ErrorKind::usage, "the text is longer than 2^32 characters");

  std::vector<MergeNode> nodes;
  link(nodes, begin.size());
  const auto end_of = [&](uint32_t i) { return nodes[i].next == kNone ? text.size() : begin[nodes[i].next]; };
  merge_all(nodes, [&](uint32_t left, uint32_t right) {
    const Known* known = find(text.substr(begin[left], end_of(right) - begin[left]));
    return known ? MergeRule{.rank = known->rank, .result = known->id} : MergeRule{};
  });
  for (uint32_t i = 0; i < nodes.size(); i = nodes[i].next) {
    const std::string_view spelled = text.substr(begin[i], end_of(i) - begin[i]);
    if (const Known* known = find(spelled))
      ids.push_back(static_cast<int32_t>(known->id));
    else
      for (const char c : spelled) ids.push_back(byte_token_[static_cast<unsigned char>(c)]);
  }
}

}  // namespace kerf
