// Where the tensors lie in the file. GGUF does not ask for it, but a file whose tensors neither overlap nor leave gaps
// hides nothing and is the only kind that writers make; safetensors promises the same.
#include <fmt/format.h>

#include "core/checked.h"
#include "core/error.h"
#include "core/text.h"
#include "loaders/gguf_parse.h"

namespace kerf::gguf {
namespace {

/// Names of the tensors from order[first] on, for a file that ends inside the first of them.
std::string affected(const Parsed& parsed, const std::vector<uint32_t>& order, size_t first) {
  constexpr size_t kShown = 8;
  std::string names;
  const size_t n = order.size() - first;
  for (size_t i = 0; i < std::min(n, kShown); ++i) names += fmt::format("{}{}", i ? ", " : "", parsed.tensors[order[first + i]].name);
  if (n > kShown) names += fmt::format(" and {} more", n - kShown);
  return fmt::format("an unfinished download? {} tensor{} affected: {}", n, n == 1 ? "" : "s", names);
}

}  // namespace

void check_layout(Parsed& parsed, uint64_t file_size, const std::string& path, bool strict, std::vector<std::string>& warnings) {
  const auto start = align_up(parsed.header_end, parsed.alignment);
  KERF_CHECK(start, "a header inside a file ends far below 2^64");
  const uint64_t data_size = file_size > *start ? file_size - *start : 0;
  const auto order = sorted_by(parsed.tensors.size(), [&](uint32_t i) { return parsed.tensors[i].offset; });

  // Sums can not overflow: read_tensor has checked offset + padded size.
  uint64_t expected = 0;
  for (size_t k = 0; k < order.size(); ++k) {
    const TensorInfo& t = parsed.tensors[order[k]];
    const uint64_t size = static_cast<uint64_t>(t.desc.bytes()), end = t.offset + size;
    const auto refuse = [&](std::string_view field, std::string needed, std::string found, std::string hint) {
      throw FileError({.path = path,
                       .offset = t.info_offset,
                       .field = fmt::format("tensor[{}]{}", order[k], field),
                       .expected = std::move(needed),
                       .found = std::move(found),
                       .hint = std::move(hint)});
    };
    const auto name = [&] { return fmt::format("tensor \"{}\"", t.name); };
    if (t.offset < expected) {
      const TensorInfo& before = parsed.tensors[order[k - 1]];
      refuse("", "",
             fmt::format("[{},{}) overlaps tensor[{}] [{},{})", t.offset, end, order[k - 1], before.offset,
                         before.offset + static_cast<uint64_t>(before.desc.bytes())),
             name());
    }
    if (t.offset > expected) {
      if (end > data_size) refuse(".offset", "", fmt::format("{} + {} > data size {}", t.offset, size, data_size), name());
      const std::string after = k == 0 ? "before the first tensor" : fmt::format("after tensor[{}]", order[k - 1]);
      refuse(".offset", "", fmt::format("gap of {} bytes {}", t.offset - expected, after), name());
    }
    if (end > data_size) {
      const uint64_t missing = *start + end - file_size;
      refuse(" data", "",
             fmt::format("needs {} bytes at offset {}, file ends {} byte{} short", size, *start + t.offset, missing, missing == 1 ? "" : "s"),
             affected(parsed, order, k));
    }
    const auto next = align_up(end, parsed.alignment);
    KERF_CHECK(next, "read_tensor has checked the padded end");
    expected = *next;
  }
  for (TensorInfo& t : parsed.tensors) t.offset += *start;

  // Writers pad the last tensor or do not: both are whole files.
  const uint64_t used = parsed.tensors.empty() ? *start : *start + expected;
  if (file_size <= used) return;
  const std::string found = fmt::format("{} bytes after the last tensor", file_size - used);
  if (strict) throw FileError({.path = path, .offset = used, .field = "tail", .expected = "the end of the file", .found = found});
  warnings.push_back(fmt::format("{}: offset {}: {} are not used", printable(path), used, found));
}

}  // namespace kerf::gguf
