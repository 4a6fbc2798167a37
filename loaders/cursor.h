// Reading a file's bytes in order. Every read is checked against what is left, and every refusal carries path, offset
// and the name of the field, so that parsers above never do pointer arithmetic and never word an error twice.
#pragma once
#include <fmt/format.h>

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>

#include "core/error.h"

namespace kerf {

class Cursor {
 public:
  /// `bytes` is the file from its first byte: positions in it are the offsets of messages.
  Cursor(std::span<const std::byte> bytes, const std::string& path) : bytes_(bytes), path_(path) {}

  uint64_t offset() const { return offset_; }
  uint64_t remaining() const { return bytes_.size() - offset_; }

  /// From here on fields are called `list[index].field`; an empty list name ends that.
  void enter(std::string_view list, uint64_t index) {
    list_ = list;
    index_ = index;
  }

  /// A little-endian number; booleans and enums are read as integers and looked up by the caller.
  template <class T>
  T number(std::string_view field) {
    static_assert(std::is_arithmetic_v<T> && !std::is_same_v<T, bool> && std::endian::native == std::endian::little);
    T value{};
    std::memcpy(&value, bytes(sizeof value, field).data(), sizeof value);
    return value;
  }
  uint32_t u32(std::string_view field) { return number<uint32_t>(field); }
  uint64_t u64(std::string_view field) { return number<uint64_t>(field); }

  std::span<const std::byte> bytes(uint64_t n, std::string_view field) {
    if (n > remaining())
      refuse(offset_, field, fmt::format("{} bytes", n), fmt::format("{}", remaining()), fmt::format("file ends at offset {}", bytes_.size()));
    const auto part = bytes_.subspan(offset_, n);
    offset_ += n;
    return part;
  }

  /// A u64 length and that many bytes; a view of the file.
  std::string_view text(uint64_t limit, std::string_view field) {
    const uint64_t at = offset_, n = u64(field);
    if (n > limit) refuse(at, fmt::format("{} length", field), fmt::format("<= {}", limit), fmt::format("{}", n));
    if (n > remaining())
      refuse(at, fmt::format("{} length", field), fmt::format("<= {} remaining", remaining()), fmt::format("{}", n),
             fmt::format("file ends at offset {}", bytes_.size()));
    const auto part = bytes(n, field);
    return {reinterpret_cast<const char*>(part.data()), part.size()};
  }

  [[noreturn]] void refuse(uint64_t at, std::string_view field, std::string expected, std::string found, std::string hint = {}) const {
    throw FileError(
        {.path = path_, .offset = at, .field = named(field), .expected = std::move(expected), .found = std::move(found), .hint = std::move(hint)});
  }

 private:
  std::string named(std::string_view field) const {
    return list_.empty() ? std::string(field) : fmt::format("{}[{}]{}{}", list_, index_, field.empty() ? "" : ".", field);
  }

  std::span<const std::byte> bytes_;
  const std::string& path_;
  uint64_t offset_ = 0;
  std::string_view list_{};
  uint64_t index_ = 0;
};

}  // namespace kerf
