#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <unordered_map>

#include "core/error.h"
#include "core/text.h"
#include "loaders/tokenizer/pretokenize.h"
#include "loaders/tokenizer/vocab.h"

namespace kerf {
namespace {

constexpr size_t kMaxToken = 65535;
const std::string kPrefix = "tokenizer.ggml.";

class Reader {
 public:
  explicit Reader(const gguf::File& file) : file_(file) {}

  Vocab read() {
    const std::string model = required_text("tokenizer.ggml.model");
    read_tokens();
    read_types();
    read_scores(model == "llama");
    check_bytes(model == "llama");
    check_normalizer(model == "llama");
    read_suppressed();
    read_model(model);
    read_flags();
    read_ids();
    if (const gguf::Entry* e = file_.find("tokenizer.chat_template")) v_.chat_template = text_of(*e);
    find_roles(v_);
    if (v_.add_bos && !v_.special.bos) v_.warnings.push_back("add_bos_token is true, but no token begins a text: none is added");
    if (v_.add_eos && !v_.special.eos) v_.warnings.push_back("add_eos_token is true, but no token ends a text: none is added");
    return std::move(v_);
  }

 private:
  [[noreturn]] void refuse(const gguf::Entry* at, std::string field, std::string expected, std::string found, std::string hint = {}) const {
    throw FileError({.path = file_.path(),
                     .offset = at ? std::optional(at->offset) : std::nullopt,
                     .field = std::move(field),
                     .expected = std::move(expected),
                     .found = std::move(found),
                     .hint = std::move(hint)});
  }

  static std::string type_name(const gguf::Entry& e) {
    return e.type == gguf::Type::array ? fmt::format("{}[]", name_of(e.element)) : std::string(name_of(e.type));
  }

  std::string key_of(const gguf::Entry& e) const { return std::string(e.key); }

  std::string text_of(const gguf::Entry& e) const {
    if (e.type != gguf::Type::string) refuse(&e, key_of(e), "string", type_name(e));
    return std::string(std::get<std::string_view>(std::get<gguf::Scalar>(e.value)));
  }

  std::string required_text(const std::string& key) const {
    const gguf::Entry* e = file_.find(key);
    if (!e) refuse(nullptr, key, "", "missing");
    return text_of(*e);
  }

  /// The array under KEY; null if there is none. @throws if its element type is not one of `allowed`, whose first is the documented one.
  const gguf::Array* array(const std::string& key, std::initializer_list<gguf::Type> allowed, const gguf::Entry** at) const {
    const gguf::Entry* e = *at = file_.find(key);
    if (!e) return nullptr;
    if (e->type != gguf::Type::array || std::find(allowed.begin(), allowed.end(), e->element) == allowed.end())
      refuse(e, key, fmt::format("{}[]", name_of(*allowed.begin())), type_name(*e));
    return &std::get<gguf::Array>(e->value);
  }

  void check_count(const gguf::Entry* e, const std::string& key, size_t found) const {
    if (found != v_.tokens.size()) refuse(e, key, fmt::format("{} items", v_.tokens.size()), fmt::format("{}", found));
  }

  std::string token_field(size_t i) const { return fmt::format("{}tokens[{}] \"{}\"", kPrefix, i, printable(v_.tokens[i].text)); }

  void read_tokens() {
    const std::string key = kPrefix + "tokens";
    const gguf::Array* found = array(key, {gguf::Type::string}, &tokens_at_);
    if (!found) refuse(nullptr, key, "", "missing");
    const auto& texts = std::get<std::vector<std::string_view>>(*found);
    if (texts.empty()) refuse(tokens_at_, key, ">= 1", "0");
    if (texts.size() > INT32_MAX) refuse(tokens_at_, key, "<= 2^31 - 1", fmt::format("{}", texts.size()));
    std::unordered_map<std::string_view, size_t> seen;
    seen.reserve(texts.size());
    for (size_t i = 0; i < texts.size(); ++i) {
      if (texts[i].size() > kMaxToken)
        refuse(tokens_at_, fmt::format("{}[{}] length", key, i), fmt::format("<= {}", kMaxToken), fmt::format("{}", texts[i].size()));
      v_.tokens.push_back({.text = std::string(texts[i])});
      const auto [first, is_new] = seen.try_emplace(texts[i], i);
      if (!is_new) warn_duplicate(i, first->second);
    }
    if (duplicates_ > kDuplicatesShown) v_.warnings.push_back(fmt::format("tokens: {} more duplicates", duplicates_ - kDuplicatesShown));
  }

  void warn_duplicate(size_t i, size_t first) {
    if (++duplicates_ <= kDuplicatesShown)
      v_.warnings.push_back(fmt::format("tokens[{}] \"{}\": duplicate of tokens[{}]; the first wins", i, printable(v_.tokens[i].text), first));
  }

  /// Integers of an array whatever their width, widened.
  template <class F>
  static void each_integer(const gguf::Array& array, F f) {
    if (const auto* s = std::get_if<std::vector<int64_t>>(&array))
      for (size_t i = 0; i < s->size(); ++i) f(i, (*s)[i]);
    if (const auto* u = std::get_if<std::vector<uint64_t>>(&array))
      for (size_t i = 0; i < u->size(); ++i) f(i, static_cast<int64_t>((*u)[i]));
  }

  void read_types() {
    const std::string key = kPrefix + "token_type";
    const gguf::Entry* at = nullptr;
    const gguf::Array* found = array(key, {gguf::Type::i32, gguf::Type::u32}, &at);
    if (!found) return;  // all normal
    check_count(at, key, gguf::length(*found));
    each_integer(*found, [&](size_t i, int64_t type) {
      if (type < 1 || type > 6) refuse(at, fmt::format("{}[{}]", key, i), "1..6", fmt::format("{}", type));
      v_.tokens[i].type = static_cast<TokenType>(type);
    });
  }

  void read_scores(bool needed) {
    const std::string key = kPrefix + "scores";
    const gguf::Entry* at = nullptr;
    const gguf::Array* found = array(key, {gguf::Type::f32, gguf::Type::i32}, &at);  // i32: written by converters from whole numbers
    if (!found && needed) refuse(nullptr, key, "", "missing for model llama");
    if (!found) return;
    check_count(at, key, gguf::length(*found));
    each_integer(*found, [&](size_t i, int64_t score) { v_.tokens[i].score = static_cast<float>(score); });
    if (const auto* real = std::get_if<std::vector<double>>(found))
      for (size_t i = 0; i < real->size(); ++i) {
        if (std::isnan((*real)[i])) refuse(at, fmt::format("{}[{}]", key, i), "a number", "nan");
        v_.tokens[i].score = static_cast<float>((*real)[i]);
      }
  }

  void check_bytes(bool needed) const {
    std::array<bool, 256> present{};
    for (size_t i = 0; i < v_.tokens.size(); ++i) {
      if (v_.tokens[i].type != TokenType::byte) continue;
      const auto byte = byte_of(v_.tokens[i].text);
      if (!byte) refuse(tokens_at_, token_field(i), "", "byte token needs two hex digits");
      present[*byte] = true;
    }
    const auto missing = std::count(present.begin(), present.end(), false);
    if (needed && missing > 0) refuse(tokens_at_, "byte tokens", "", fmt::format("{} missing in an SPM vocabulary of {}", missing, v_.tokens.size()));
  }

  /// The character map of SentencePiece models with a normalizer: u32 size of the trie, the trie, the strings.
  void check_normalizer(bool is_spm) {
    const std::string key = kPrefix + "precompiled_charsmap";
    const gguf::Entry* at = nullptr;
    const gguf::Array* found = array(key, {gguf::Type::u8, gguf::Type::i8}, &at);
    if (!found || gguf::length(*found) == 0) return;
    const auto bytes = std::get<gguf::Bytes>(*found);
    uint32_t trie = 0;
    if (bytes.size() < sizeof trie) refuse(at, key, ">= 4 bytes", fmt::format("{}", bytes.size()));
    std::memcpy(&trie, bytes.data(), sizeof trie);
    if (trie > bytes.size() - sizeof trie) refuse(at, key, "", fmt::format("trie {} bytes > {}", trie, bytes.size() - sizeof trie));
    if (is_spm) v_.warnings.push_back("precompiled_charsmap: text is not normalized before it is encoded");
  }

  void read_suppressed() {
    const std::string key(kSuppressTokens);
    const gguf::Entry* at = nullptr;
    const gguf::Array* found = array(key, {gguf::Type::i32}, &at);
    if (!found) return;
    each_integer(*found, [&](size_t i, int64_t id) {
      if (id >= 0 && id < static_cast<int64_t>(v_.tokens.size())) return v_.suppress.push_back(static_cast<int32_t>(id));
      v_.warnings.push_back(fmt::format("suppress_tokens[{}]: {} is not a token; left out", i, id));
    });
  }

  void read_model(const std::string& model) {
    if (model == "llama") {
      v_.model = TokenizerModel::spm;
      v_.add_bos = v_.add_space_prefix = true;
      return;
    }
    if (model != "gpt2")
      refuse(file_.find("tokenizer.ggml.model"), "tokenizer.ggml.model", "", fmt::format("unknown \"{}\"", printable(model)), "known: llama, gpt2");
    v_.model = TokenizerModel::bpe;
    read_pre();
    read_merges();
  }

  void read_pre() {
    const std::string key = kPrefix + "pre";
    const gguf::Entry* e = file_.find(key);
    v_.pre = e ? text_of(*e) : "default";
    if (!e) v_.warnings.push_back("tokenizer.ggml.pre: missing; \"default\" is used, which may not be how the model was trained");
    const PreFamily* family = find_pre(v_.pre);
    if (!family) refuse(e, key, "", fmt::format("unknown \"{}\"", printable(v_.pre)), fmt::format("known: {}", known_pre_names()));
    v_.ignore_merges = v_.add_bos = family->like_llama3;
  }

  void read_merges() {
    const std::string key = kPrefix + "merges";
    const gguf::Entry* at = nullptr;
    const gguf::Array* found = array(key, {gguf::Type::string}, &at);
    if (!found) refuse(nullptr, key, "", "missing for model gpt2");
    const auto& merges = std::get<std::vector<std::string_view>>(*found);
    for (size_t i = 0; i < merges.size(); ++i) {
      const size_t space = merges[i].find(' ', 1);  // from 1: the left part is never empty
      if (space == std::string_view::npos || space + 1 == merges[i].size())
        refuse(at, fmt::format("{}[{}] \"{}\"", key, i, printable(merges[i])), "two parts and one space", "");
      v_.merges.emplace_back(merges[i]);
    }
  }

  void read_flag(const std::string& name, bool& flag) {
    const gguf::Entry* e = file_.find(kPrefix + name);
    if (!e) return;
    if (e->type != gguf::Type::boolean) refuse(e, kPrefix + name, "bool", type_name(*e));
    flag = std::get<bool>(std::get<gguf::Scalar>(e->value));
  }

  void read_flags() {
    read_flag("add_bos_token", v_.add_bos);
    read_flag("add_eos_token", v_.add_eos);
    read_flag("add_space_prefix", v_.add_space_prefix);
    read_flag("remove_extra_whitespaces", v_.remove_extra_whitespaces);
  }

  void read_id(const std::string& name, std::optional<int32_t>& id) {
    const gguf::Entry* e = file_.find(kPrefix + name);
    if (!e) return;
    if (e->type == gguf::Type::array) refuse(e, kPrefix + name, "u32", type_name(*e));
    const auto& scalar = std::get<gguf::Scalar>(e->value);
    uint64_t value = 0;
    if (const auto* u = std::get_if<uint64_t>(&scalar)) {
      value = *u;
    } else if (const auto* s = std::get_if<int64_t>(&scalar)) {
      if (*s < 0) refuse(e, kPrefix + name, "u32", fmt::format("{} {}", type_name(*e), *s));
      value = static_cast<uint64_t>(*s);
    } else {
      refuse(e, kPrefix + name, "u32", type_name(*e));
    }
    if (value < v_.tokens.size())
      id = static_cast<int32_t>(value);
    else
      v_.warnings.push_back(fmt::format("{} {} >= {}; treated as absent", name, value, v_.tokens.size()));
  }

  void read_ids() {
    SpecialIds& s = v_.special;
    read_id("bos_token_id", s.bos);
    read_id("eos_token_id", s.eos);
    read_id("eot_token_id", s.eot);
    read_id("eom_token_id", s.eom);
    read_id("unknown_token_id", s.unk);
    read_id("seperator_token_id", s.sep);  // spelled so in the format
    read_id("padding_token_id", s.pad);
    read_id("mask_token_id", s.mask);
    read_id("prefix_token_id", s.fim_pre);  // the names before fim_*
    read_id("suffix_token_id", s.fim_suf);
    read_id("middle_token_id", s.fim_mid);
    read_id("fim_pre_token_id", s.fim_pre);
    read_id("fim_suf_token_id", s.fim_suf);
    read_id("fim_mid_token_id", s.fim_mid);
    read_id("fim_pad_token_id", s.fim_pad);
    read_id("fim_rep_token_id", s.fim_rep);
    read_id("fim_sep_token_id", s.fim_sep);
    if (v_.model != TokenizerModel::spm) return;
    // SentencePiece's own numbering, where the file is silent and the tokens are of that kind.
    default_id("unknown_token_id", 0, TokenType::unknown, s.unk);
    default_id("bos_token_id", 1, TokenType::control, s.bos);
    default_id("eos_token_id", 2, TokenType::control, s.eos);
  }

  void default_id(const std::string& name, int32_t id, TokenType type, std::optional<int32_t>& to) const {
    const bool fits = static_cast<size_t>(id) < v_.tokens.size() && v_.tokens[static_cast<size_t>(id)].type == type;
    if (!file_.find(kPrefix + name) && fits) to = id;
  }

  static constexpr size_t kDuplicatesShown = 8;
  const gguf::File& file_;
  Vocab v_{};
  const gguf::Entry* tokens_at_ = nullptr;
  size_t duplicates_ = 0;
};

}  // namespace

bool has_vocab(const gguf::File& file) {
  const gguf::Entry* e = file.find("tokenizer.ggml.model");
  if (!e) return false;
  if (e->type != gguf::Type::string) return true;  // read_vocab says what is wrong with it
  const auto model = std::get<std::string_view>(std::get<gguf::Scalar>(e->value));
  return model != "none" && model != "no_vocab";
}

Vocab read_vocab(const gguf::File& file) { return Reader(file).read(); }

}  // namespace kerf
