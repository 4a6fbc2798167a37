#include "core/text.h"

#include <fmt/format.h>

#include <array>
#include <charconv>
#include <cmath>

#include "core/error.h"

namespace kerf {
namespace {

/// Bytes of the well-formed UTF-8 character at s[i] (Unicode 15.0, table 3-7), or 0 if it is not well formed.
/// `truncated` is set when the text ends inside a character that could still become well formed.
size_t utf8_length(std::string_view s, size_t i, bool* truncated = nullptr) {
  auto byte = [&](size_t k) { return static_cast<unsigned char>(s[k]); };
  const unsigned lead = byte(i);
  if (lead < 0x80) return 1;
  size_t n = lead >= 0xF0 && lead <= 0xF4 ? 4 : lead >= 0xE0 && lead < 0xF0 ? 3 : lead >= 0xC2 && lead < 0xE0 ? 2 : 0;
  for (size_t k = 1; k < n; ++k) {
    if (i + k >= s.size()) {
      if (truncated) *truncated = true;
      return 0;
    }
    unsigned low = 0x80, high = 0xBF;
    if (k == 1) {
      if (lead == 0xE0) low = 0xA0;   // no overlong forms
      if (lead == 0xED) high = 0x9F;  // no surrogates
      if (lead == 0xF0) low = 0x90;
      if (lead == 0xF4) high = 0x8F;  // nothing above U+10FFFF
    }
    if (byte(i + k) < low || byte(i + k) > high) return 0;
  }
  return n;
}

}  // namespace

std::string printable(std::string_view bytes, size_t limit) {
  std::string out;
  for (size_t i = 0; i < bytes.size();) {
    if (i >= limit) return out + "...";
    const auto c = static_cast<unsigned char>(bytes[i]);
    const size_t n = utf8_length(bytes, i);
    const bool c1_control = n == 2 && c == 0xC2 && static_cast<unsigned char>(bytes[i + 1]) < 0xA0;
    if (n == 0 || c < 0x20 || c == 0x7F || c1_control) {
      out += fmt::format("\\x{:02x}", c);
      ++i;
    } else {
      out.append(bytes, i, n);
      i += n;
    }
  }
  return out;
}

std::string human_bytes(int64_t bytes) {
  static constexpr std::array<const char*, 5> kUnits{"B", "KiB", "MiB", "GiB", "TiB"};
  double value = static_cast<double>(bytes);
  size_t unit = 0;
  while (std::abs(value) >= 1024 && unit + 1 < kUnits.size()) {
    value /= 1024;
    ++unit;
  }
  return unit == 0 ? fmt::format("{} B", bytes) : fmt::format("{:.1f} {}", value, kUnits[unit]);
}

int64_t parse_bytes(std::string_view text) {
  double value = 0;
  const auto [rest, failed] = std::from_chars(text.data(), text.data() + text.size(), value);
  const std::string_view unit(rest, static_cast<size_t>(text.data() + text.size() - rest));
  const double factor = unit.empty() || unit == "B" ? 1
                        : unit == "KiB"             ? 1024.0
                        : unit == "MiB"             ? 1024.0 * 1024
                        : unit == "GiB"             ? 1024.0 * 1024 * 1024
                        : unit == "TiB"             ? 1024.0 * 1024 * 1024 * 1024
                        : unit == "KB"              ? 1e3
                        : unit == "MB"              ? 1e6
                        : unit == "GB"              ? 1e9
                        : unit == "TB"              ? 1e12
                                                    : 0;
  if (failed != std::errc{} || factor == 0 || !(value >= 0) || value * factor > 9e18)
    throw Error(ErrorKind::usage, fmt::format("not a size: \"{}\"", printable(text)), "", "write a number with B, KiB, MiB, GiB, KB, MB or GB");
  return static_cast<int64_t>(std::floor(value * factor));
}

size_t complete_utf8_prefix(std::string_view s) {
  for (size_t back = 1; back <= 3 && back <= s.size(); ++back) {
    bool truncated = false;
    const size_t i = s.size() - back;
    if (static_cast<unsigned char>(s[i]) < 0x80) break;
    if (utf8_length(s, i, &truncated) == 0 && truncated) return i;
  }
  return s.size();
}

std::string valid_utf8(std::string_view s) {
  std::string out;
  for (size_t i = 0; i < s.size();) {
    const size_t n = utf8_length(s, i);
    if (n == 0) {
      out += "\xEF\xBF\xBD";
      ++i;
    } else {
      out.append(s, i, n);
      i += n;
    }
  }
  return out;
}

}  // namespace kerf
