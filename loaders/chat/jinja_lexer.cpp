#include "loaders/chat/jinja_lexer.h"

#include <fmt/format.h>

#include <array>

#include "core/text.h"

namespace kerf::jinja {
namespace {

/// "\r\n" and "\r" become "\n", and the last newline goes: Jinja's newline_sequence and keep_trailing_newline defaults.
std::string normalised(std::string_view source) {
  std::string s;
  for (size_t i = 0; i < source.size(); ++i) {
    if (source[i] == '\r') {
      if (i + 1 < source.size() && source[i + 1] == '\n') ++i;
      s += '\n';
    } else {
      s += source[i];
    }
  }
  if (s.ends_with('\n')) s.pop_back();
  return s;
}

bool is_digit(char c) { return c >= '0' && c <= '9'; }
bool is_name_start(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_'; }
bool is_name(char c) { return is_name_start(c) || is_digit(c); }

size_t trimmed_end(std::string_view s) {
  size_t end = 0;
  for (size_t i = 0; i < s.size();) {
    const size_t space = space_at(s, i);
    i += space ? space : 1;
    if (!space) end = i;
  }
  return end;
}

void append_code_point(std::string& out, uint32_t c) {
  if (c < 0x80) {
    out += static_cast<char>(c);
  } else if (c < 0x800) {
    out += static_cast<char>(0xC0 | c >> 6);
    out += static_cast<char>(0x80 | (c & 0x3F));
  } else if (c < 0x10000) {
    out += static_cast<char>(0xE0 | c >> 12);
    out += static_cast<char>(0x80 | (c >> 6 & 0x3F));
    out += static_cast<char>(0x80 | (c & 0x3F));
  } else {
    out += static_cast<char>(0xF0 | c >> 18);
    out += static_cast<char>(0x80 | (c >> 12 & 0x3F));
    out += static_cast<char>(0x80 | (c >> 6 & 0x3F));
    out += static_cast<char>(0x80 | (c & 0x3F));
  }
}

class Lexer {
 public:
  explicit Lexer(std::string_view source) : source_(normalised(source)) {}

  std::vector<Token> run() {
    while (at_ < source_.size()) {
      const size_t tag = next_tag();
      data(tag);
      if (tag == std::string::npos) break;
      if (source_[tag + 1] == '#')
        comment();
      else
        inside(source_[tag + 1] == '{');
    }
    add(TokenKind::end, "");
    return std::move(tokens_);
  }

 private:
  char peek(size_t k = 0) const { return at_ + k < source_.size() ? source_[at_ + k] : '\0'; }
  bool ahead(std::string_view s) const { return std::string_view(source_).substr(at_, s.size()) == s; }

  void advance(size_t n) {
    for (; n > 0; --n, ++at_) {
      if (source_[at_] == '\n') {
        ++position_.line;
        position_.column = 1;
      } else if ((static_cast<unsigned char>(source_[at_]) & 0xC0) != 0x80) {
        ++position_.column;
      }
    }
  }

  void add(TokenKind kind, std::string text) { tokens_.push_back({kind, std::move(text), position_}); }

  size_t next_tag() const {
    for (size_t i = source_.find('{', at_); i != std::string::npos && i + 1 < source_.size(); i = source_.find('{', i + 1))
      if (source_[i + 1] == '{' || source_[i + 1] == '%' || source_[i + 1] == '#') return i;
    return std::string::npos;
  }

  /// The text up to the tag. A tag with "-" takes all whitespace before it; a block or comment without "+" that is the
  /// first thing on its line takes the indentation.
  void data(size_t tag) {
    const size_t end = tag == std::string::npos ? source_.size() : tag;
    std::string_view s = std::string_view(source_).substr(at_, end - at_);
    const size_t whole = s.size();
    if (tag != std::string::npos) {
      const char sign = tag + 2 < source_.size() ? source_[tag + 2] : '\0';
      if (sign == '-') {
        s = s.substr(0, trimmed_end(s));
      } else if (sign != '+' && source_[tag + 1] != '{') {
        const size_t line = s.rfind('\n') + 1;
        if ((line > 0 || line_start_) && trimmed_end(s.substr(line)) == 0) s = s.substr(0, line);
      }
    }
    if (!s.empty()) add(TokenKind::data, std::string(s));
    advance(whole);
  }

  /// What follows the end of a tag: everything blank after "-", one newline after a block or comment.
  void after_tag(char sign, bool block) {
    line_start_ = false;
    if (sign == '-') {
      for (size_t n = space_at(source_, at_); n > 0; n = at_ < source_.size() ? space_at(source_, at_) : 0) {
        line_start_ = source_[at_] == '\n';
        advance(n);
      }
    } else if (block && sign != '+' && peek() == '\n') {
      line_start_ = true;
      advance(1);
    }
  }

  void comment() {
    const Position begin = position_;
    const size_t end = source_.find("#}", at_ + 2);
    if (end == std::string::npos) fail(begin, "this comment has no #}");
    const char sign = end > at_ + 2 ? source_[end - 1] : '\0';
    advance(end + 2 - at_);
    after_tag(sign, true);
  }

  void inside(bool output) {
    const Position begin = position_;
    add(output ? TokenKind::output_begin : TokenKind::block_begin, "");
    advance(2);
    if (peek() == '-' || peek() == '+') advance(1);
    const std::string_view close = output ? "}}" : "%}";
    int open = 0;  // brackets: "}}" may end two dicts
    for (;;) {
      while (at_ < source_.size() && space_at(source_, at_)) advance(space_at(source_, at_));
      if (at_ >= source_.size()) fail(begin, fmt::format("this tag has no {}", close));
      const char sign = (peek() == '-' || (peek() == '+' && !output)) && std::string_view(source_).substr(at_ + 1, 2) == close ? peek() : '\0';
      if (open == 0 && (sign || ahead(close))) {
        add(output ? TokenKind::output_end : TokenKind::block_end, "");
        advance(sign ? 3 : 2);
        after_tag(sign, !output);
        return;
      }
      token(open);
    }
  }

  void token(int& open) {
    const char c = peek();
    if (is_name_start(c)) {
      size_t n = 1;
      while (is_name(peek(n))) ++n;
      take(TokenKind::name, n);
    } else if (is_digit(c)) {
      number();
    } else if (c == '\'' || c == '"') {
      string(c);
    } else {
      static constexpr std::array<std::string_view, 7> kPairs{"==", "!=", "<=", ">=", "//", "**", "->"};
      for (const auto pair : kPairs)
        if (ahead(pair)) return take(TokenKind::symbol, 2);
      if (std::string_view("+-*/%~<>=.,:|()[]{}").find(c) == std::string_view::npos || c == '\0')
        fail(position_, fmt::format("unexpected character \"{}\"", printable(std::string_view(&source_[at_], 1))));
      if ((c == '(' || c == '[' || c == '{') && ++open > kMaxDepth) fail(position_, fmt::format("brackets nested deeper than {}", kMaxDepth));
      if ((c == ')' || c == ']' || c == '}') && --open < 0) fail(position_, fmt::format("\"{}\" closes nothing", c));
      take(TokenKind::symbol, 1);
    }
  }

  void take(TokenKind kind, size_t n) {
    add(kind, source_.substr(at_, n));
    advance(n);
  }

  void number() {
    size_t n = 0;
    bool floating = false;
    while (is_digit(peek(n)) || peek(n) == '_') ++n;
    if (peek(n) == '.' && is_digit(peek(n + 1))) {
      floating = true;
      for (++n; is_digit(peek(n));) ++n;
    }
    if (peek(n) == 'e' || peek(n) == 'E') {
      const size_t sign = peek(n + 1) == '+' || peek(n + 1) == '-' ? 1 : 0;
      if (is_digit(peek(n + 1 + sign))) {
        floating = true;
        for (n += 1 + sign; is_digit(peek(n));) ++n;
      }
    }
    take(floating ? TokenKind::floating : TokenKind::integer, n);
    std::erase(tokens_.back().text, '_');
  }

  /// Escapes of Python's string literals; an unknown one keeps its backslash.
  void string(char quote) {
    const Position begin = position_;
    std::string s;
    advance(1);
    while (at_ < source_.size() && peek() != quote) {
      if (peek() != '\\' || at_ + 1 >= source_.size()) {
        s += peek();
        advance(1);
        continue;
      }
      static constexpr std::string_view kNames = "nrtabfv\\'\"", kMeanings = "\n\r\t\a\b\f\v\\'\"";
      const char c = peek(1);
      const size_t known = kNames.find(c);
      const size_t hex = c == 'x' ? 2 : c == 'u' ? 4 : c == 'U' ? 8 : 0;
      if (known != std::string_view::npos) {
        s += kMeanings[known];
        advance(2);
      } else if (c == '\n') {
        advance(2);
      } else if (hex) {
        uint32_t code = 0;
        for (size_t i = 0; i < hex; ++i) {
          const char h = peek(2 + i);
          const auto digit = std::string_view("0123456789abcdef").find(h >= 'A' && h <= 'F' ? static_cast<char>(h + 32) : h);
          if (h == '\0' || digit == std::string_view::npos) fail(position_, fmt::format("\\{} needs {} hexadecimal digits", c, hex));
          code = code << 4 | static_cast<uint32_t>(digit);
        }
        if (code > 0x10FFFF || (code >= 0xD800 && code < 0xE000)) fail(position_, fmt::format("U+{:X} is no character", code));
        append_code_point(s, code);
        advance(2 + hex);
      } else if (c >= '0' && c <= '7') {
        uint32_t code = 0;
        size_t n = 1;
        for (; n <= 3 && peek(n) >= '0' && peek(n) <= '7'; ++n) code = code * 8 + static_cast<uint32_t>(peek(n) - '0');
        append_code_point(s, code);
        advance(n);
      } else {
        s += '\\';
        advance(1);
      }
    }
    if (at_ >= source_.size()) fail(begin, "this string is not closed");
    advance(1);
    tokens_.push_back({TokenKind::string, std::move(s), begin});
  }

  std::string source_;
  size_t at_ = 0;
  Position position_;
  bool line_start_ = true;
  std::vector<Token> tokens_;
};

}  // namespace

std::vector<Token> tokenize(std::string_view source) { return Lexer(source).run(); }

}  // namespace kerf::jinja
