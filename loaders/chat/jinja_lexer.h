// A template cut into tokens, with Jinja's rules for whitespace around tags as chat templates are rendered:
// trim_blocks and lstrip_blocks on, one newline at the end of the source dropped.
#pragma once
#include <string>
#include <string_view>
#include <vector>

#include "loaders/chat/jinja_value.h"

namespace kerf::jinja {

enum class TokenKind : uint8_t { data, output_begin, output_end, block_begin, block_end, name, string, integer, floating, symbol, end };

struct Token {
  TokenKind kind = TokenKind::end;
  std::string text{};  // data and strings decoded; names, numbers and symbols as written
  Position at{};
};

/// @throws Error(bad_file) for an unterminated tag, comment or string and for characters outside the language.
std::vector<Token> tokenize(std::string_view source);

}  // namespace kerf::jinja
