#include "loaders/tokenizer/tokenizer.h"

#include <fmt/format.h>

#include "core/error.h"
#include "core/text.h"

namespace kerf {
namespace {

bool is_special(TokenType type) { return type == TokenType::control || type == TokenType::unknown; }

std::string piece_of(const Token& token, TokenizerModel model) {
  if (is_special(token.type) || token.type == TokenType::user_defined) return token.text;
  if (model == TokenizerModel::bpe) return from_byte_alphabet(token.text);
  if (token.type == TokenType::byte)
    if (const auto byte = byte_of(token.text)) return std::string(1, static_cast<char>(*byte));
  std::string out = token.text;
  for (size_t at = 0; (at = out.find(kSpmSpace, at)) != std::string::npos; ++at) out.replace(at, kSpmSpace.size(), " ");
  return out;
}

}  // namespace

Tokenizer::Tokenizer(Vocab vocab) : vocab_(std::move(vocab)), user_defined_(vocab_, false), all_special_(vocab_, true) {
  if (vocab_.model == TokenizerModel::spm) {
    spm_.emplace(vocab_);
  } else {
    const PreFamily* family = find_pre(vocab_.pre);
    if (!family) throw Error(ErrorKind::usage, fmt::format("unknown pre-tokenizer \"{}\"", printable(vocab_.pre)), "", "known: " + known_pre_names());
    pretokenizer_.emplace(*family);
    bpe_.emplace(vocab_);
  }
  pieces_.reserve(vocab_.tokens.size());
  for (const Token& token : vocab_.tokens) pieces_.push_back(piece_of(token, vocab_.model));
}

std::vector<int32_t> Tokenizer::encode(std::string_view text, EncodeOptions options) const {
  const Segment segment{.text = text, .parse_special = options.parse_special};
  return encode(std::span(&segment, 1), options.add_special);
}

std::vector<int32_t> Tokenizer::encode(std::span<const Segment> segments, bool add_special) const {
  std::string joined;
  std::string_view text;
  std::vector<SpecialHit> hits;
  for (const Segment& s : segments) {
    (s.parse_special ? all_special_ : user_defined_).find(s.text, joined.size(), hits);
    if (segments.size() > 1) joined += s.text;
  }
  text = segments.size() == 1 ? segments[0].text : joined;

  std::vector<int32_t> ids;
  if (add_special && vocab_.add_bos && vocab_.special.bos) ids.push_back(*vocab_.special.bos);
  size_t at = 0;
  for (const SpecialHit& hit : hits) {
    encode_text(text.substr(at, hit.begin - at), ids);
    ids.push_back(hit.id);
    at = hit.end;
  }
  encode_text(text.substr(at), ids);
  if (add_special && vocab_.add_eos && vocab_.special.eos) ids.push_back(*vocab_.special.eos);
  return ids;
}

void Tokenizer::encode_text(std::string_view text, std::vector<int32_t>& ids) const {
  if (text.empty()) return;
  if (spm_) return spm_->encode(text, ids);
  std::vector<MergeNode> nodes;
  pretokenizer_->split(text, [&](std::string_view piece) {
    if (piece.size() >= kNone) throw Error(ErrorKind::usage, "a word of the text is longer than 2^32 bytes");
    bpe_->encode(piece, ids, nodes);
  });
}

const std::string& Tokenizer::piece(int32_t id) const {
  if (id < 0 || static_cast<size_t>(id) >= pieces_.size())
    throw Error(ErrorKind::usage, fmt::format("{} is no token", id), "", fmt::format("the vocabulary has tokens 0..{}", pieces_.size() - 1));
  return pieces_[static_cast<size_t>(id)];
}

void Tokenizer::append(int32_t id, bool special, bool& at_start, std::string& out) const {
  std::string_view text = piece(id);
  const TokenType type = vocab_.tokens[static_cast<size_t>(id)].type;
  if (is_special(type)) {
    if (special) out += text;
    at_start = true;
    return;
  }
  const bool prefixed = at_start && vocab_.add_space_prefix && type != TokenType::byte && type != TokenType::user_defined;
  if (prefixed && text.starts_with(' ')) text.remove_prefix(1);
  at_start = type == TokenType::user_defined;
  out += text;
}

std::string Tokenizer::decode(std::span<const int32_t> ids, bool special) const {
  std::string out;
  bool at_start = true;
  for (const int32_t id : ids) append(id, special, at_start, out);
  return out;
}

}  // namespace kerf
