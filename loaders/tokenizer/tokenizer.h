// Text to token ids and back.
//
// Round trip: with a byte-level vocabulary that has all 256 bytes, decode(encode(x)) == x for all x (a warning names the
// others: SmolLM2 lacks 21 bytes, mostly such that UTF-8 never has). With an SPM vocabulary it holds for text
// without U+2581 (its own sign for a space), unless the file asks for extra spaces to be removed.
// Text is not normalized: llama.cpp does not either, and nothing in a GGUF file says which form the model was trained with.
#pragma once
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "loaders/tokenizer/bpe.h"
#include "loaders/tokenizer/pretokenize.h"
#include "loaders/tokenizer/special.h"
#include "loaders/tokenizer/spm.h"
#include "loaders/tokenizer/vocab.h"

namespace kerf {

struct EncodeOptions {
  bool add_special = true;     // begin-of-text and end-of-text tokens, as the vocabulary's flags say
  bool parse_special = false;  // "<|im_end|>" in the text is the control token; false: it is eleven characters
};

/// Part of a text from one author. A prompt is the template's segments (parse_special) with the user's between them (not).
struct Segment {
  std::string_view text{};
  bool parse_special = false;
};

/// Immutable: one object serves any number of threads.
class Tokenizer {
 public:
  /// @throws Error(usage) if vocab.pre names no known pre-tokenizer (read_vocab has checked that).
  explicit Tokenizer(Vocab vocab);

  std::vector<int32_t> encode(std::string_view text, EncodeOptions options = {}) const;

  /// The ids of the joined text, except that control tokens are found inside segments with parse_special only, and no special
  /// token is found across the border of two segments. Between special tokens the text of neighbouring segments is one text:
  /// the models were trained on joined templates, where "user\n" and a content of "\n..." share the token "\n\n", and a
  /// border would be visible to them. Merges can not produce control tokens, so joining opens no way to inject one.
  std::vector<int32_t> encode(std::span<const Segment> segments, bool add_special = false) const;

  /// @param special also write control tokens, as their texts
  /// @throws Error(usage) for an id that is no token
  std::string decode(std::span<const int32_t> ids, bool special = false) const;

  /// The bytes of one token, maybe part of a character; control tokens as their texts. @throws Error(usage)
  const std::string& piece(int32_t id) const;
  /// Generation stops at this token.
  bool is_end(int32_t id) const { return vocab_.end.contains(id); }
  const Vocab& vocab() const { return vocab_; }

 private:
  friend class StreamDecoder;
  void encode_text(std::string_view text, std::vector<int32_t>& ids) const;
  /// Appends a token. at_start is state from token to token: an SPM space prefix may come now, which is not text.
  void append(int32_t id, bool special, bool& at_start, std::string& out) const;

  Vocab vocab_;
  SpecialTexts user_defined_, all_special_;
  std::optional<Bpe> bpe_{};
  std::optional<Pretokenizer> pretokenizer_{};
  std::optional<Spm> spm_{};
  std::vector<std::string> pieces_{};
};

}  // namespace kerf
