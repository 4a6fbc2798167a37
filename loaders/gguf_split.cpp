// Models in several files: PREFIX-00001-of-00003.gguf. The first holds the metadata of all; every file says in split.no
// (from 0) and split.count which part it is. Source: llama.cpp's gguf-split, restated.
#include <fmt/format.h>

#include <filesystem>

#include "core/error.h"
#include "loaders/gguf_parse.h"

namespace kerf::gguf {
namespace {

/// The value of split.NAME, which must be of that type; 0 and `offset` unset if the file has no such key.
struct SplitKey {
  uint64_t value = 0;
  std::optional<uint64_t> offset{};
};
SplitKey split_key(const Parsed& parsed, std::string_view key, Type type, const std::string& path) {
  const Entry* e = find(parsed, key);
  if (!e) return {};
  if (e->type != type)
    throw FileError({.path = path,
                     .offset = e->offset,
                     .field = std::string(key),
                     .expected = std::string(name_of(type)),
                     .found = std::string(name_of(e->type))});
  const Scalar& scalar = std::get<Scalar>(e->value);
  if (const auto* i = std::get_if<int64_t>(&scalar)) {
    if (*i < 0) throw FileError({.path = path, .offset = e->offset, .field = std::string(key), .expected = ">= 0", .found = fmt::format("{}", *i)});
    return {static_cast<uint64_t>(*i), e->offset};
  }
  return {std::get<uint64_t>(scalar), e->offset};
}

bool all_digits(std::string_view s) {
  return std::all_of(s.begin(), s.end(), [](char c) { return c >= '0' && c <= '9'; });
}

uint32_t five_digits(std::string_view s) {
  uint32_t n = 0;
  for (const char c : s) n = n * 10 + static_cast<uint32_t>(c - '0');
  return n;
}

}  // namespace

std::string SplitName::part(uint32_t n) const { return fmt::format("{}-{:05}-of-{:05}.gguf", prefix, n, count); }

std::optional<SplitName> split_name(const std::string& path) {
  constexpr std::string_view kForm = "-00001-of-00003.gguf";
  if (path.size() < kForm.size()) return std::nullopt;
  const std::string_view tail = std::string_view(path).substr(path.size() - kForm.size());
  const auto number = tail.substr(1, 5), count = tail.substr(10, 5);
  if (tail[0] != '-' || !all_digits(number) || tail.substr(6, 4) != "-of-" || !all_digits(count) || tail.substr(15) != ".gguf") return std::nullopt;
  return SplitName{path.substr(0, path.size() - kForm.size()), five_digits(number), five_digits(count)};
}

uint32_t split_count(const Parsed& first, const std::string& path) {
  const auto count = split_key(first, "split.count", Type::u16, path), no = split_key(first, "split.no", Type::u16, path);
  const auto name = split_name(path);
  if (!count.offset) {
    if (name && name->count > 1)
      throw FileError(
          {.path = path, .field = "split.count", .expected = fmt::format("{}, as the file name says", name->count), .found = "no such key"});
    return 1;
  }
  if (count.value < 1) throw FileError({.path = path, .offset = count.offset, .field = "split.count", .expected = "1..65535", .found = "0"});
  if (no.value >= count.value)
    throw FileError(
        {.path = path, .offset = no.offset, .field = "split.no", .expected = fmt::format("< {}", count.value), .found = fmt::format("{}", no.value)});
  if (count.value == 1) return 1;
  if (!name || name->count != count.value || name->number != no.value + 1)
    throw FileError({.path = path,
                     .offset = count.offset,
                     .field = "split.count",
                     .expected = fmt::format("a file name ending in -{:05}-of-{:05}.gguf", no.value + 1, count.value),
                     .found = std::filesystem::path(path).filename().string(),
                     .hint = "give the parts of a split model the names they were written with"});
  if (no.value != 0)
    throw FileError({.path = path,
                     .offset = no.offset,
                     .field = "split.no",
                     .expected = "0, the first part",
                     .found = fmt::format("{}", no.value),
                     .hint = "open " + name->part(1)});
  return static_cast<uint32_t>(count.value);
}

void check_split_part(const Parsed& part, uint32_t no, uint32_t count, const std::string& path) {
  for (const auto& [key, expected] : {std::pair{"split.no", no}, std::pair{"split.count", count}}) {
    const auto found = split_key(part, key, Type::u16, path);
    if (!found.offset || found.value != expected)
      throw FileError({.path = path,
                       .offset = found.offset,
                       .field = key,
                       .expected = fmt::format("{}", expected),
                       .found = found.offset ? fmt::format("{}", found.value) : "no such key"});
  }
}

void check_split_total(const Parsed& first, uint64_t tensors, const std::string& path) {
  const auto total = split_key(first, "split.tensors.count", Type::i32, path);
  if (total.offset && total.value != tensors)
    throw FileError({.path = path,
                     .offset = total.offset,
                     .field = "split.tensors.count",
                     .expected = fmt::format("{} tensors in all parts", total.value),
                     .found = fmt::format("{}", tensors)});
}

}  // namespace kerf::gguf
