// Decoding while tokens are generated: a character may be spread over several byte tokens, and a terminal or a JSON stream
// must never see half of one.
#pragma once
#include <cstdint>
#include <string>

#include "loaders/tokenizer/tokenizer.h"

namespace kerf {

class StreamDecoder {
 public:
  struct Options {
    bool special = false;  // also write control tokens, as their texts
    /// True: the first token begins a text, as in decode(). False: it continues a prompt, so that a leading space of an SPM
    /// token is text ("Once upon" + " a").
    bool at_start = true;
  };
  /// The tokenizer must outlive the decoder.
  explicit StreamDecoder(const Tokenizer& tokenizer) : StreamDecoder(tokenizer, Options{}) {}
  StreamDecoder(const Tokenizer& tokenizer, Options options) : tokenizer_(&tokenizer), options_(options) {}

  /// The text that is complete with this token; never ends inside a UTF-8 character. All parts and flush() joined equal decode().
  /// @throws Error(usage) for an id that is no token
  std::string next(int32_t id);
  /// What is left at the end: empty, or bytes of a character the model never finished.
  std::string flush();

 private:
  const Tokenizer* tokenizer_;
  Options options_;
  std::string pending_{};
};

}  // namespace kerf
