// UTF-8 as the tokenizers need it: whole characters, and where text stops being UTF-8.
#pragma once
#include <cstddef>
#include <string>
#include <string_view>

namespace kerf {

/// Bytes of the well-formed character at s[i] (Unicode 15.0, table 3-7), 0 if the byte there begins none.
size_t utf8_character(std::string_view s, size_t i);

/// Length of the run that starts at s[i] and is all well-formed, or all ill-formed; `valid` says which. i < s.size().
size_t utf8_run(std::string_view s, size_t i, bool& valid);

/// The code point of a well-formed character of n bytes at s[i], and its inverse.
char32_t code_point(std::string_view s, size_t i, size_t n);
void append_utf8(std::string& out, char32_t c);

}  // namespace kerf
