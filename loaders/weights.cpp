#include "loaders/weights.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <optional>

#include "core/error.h"
#include "core/text.h"
#include "loaders/scan_values.h"

namespace kerf {
namespace {

/// As the file writes shapes: innermost first, as many dimensions as asked for at least.
std::string file_shape(const Shape& shape, size_t at_least) {
  size_t first = 0;
  while (first + at_least < shape.size() && shape[first] == 1) ++first;
  std::string text;
  for (size_t d = shape.size(); d-- > first;) text += fmt::format("{}{}", text.empty() ? "" : ",", shape[d]);
  return "[" + text + "]";
}

Shape padded(std::initializer_list<int64_t> shape) {
  KERF_CHECK(shape.size() >= 1 && shape.size() <= 4, "a weight has one to four dimensions");
  Shape wanted{1, 1, 1, 1};
  std::copy(shape.begin(), shape.end(), wanted.end() - static_cast<std::ptrdiff_t>(shape.size()));
  return wanted;
}

bool fits_matrix(DType t) { return t != DType::i8 && t != DType::i16 && t != DType::i32 && t != DType::i64 && t != DType::f64; }
bool fits_vector(DType t) { return t == DType::f32 || t == DType::f16 || t == DType::bf16; }

}  // namespace

WeightFinder::WeightFinder(const gguf::File& file) : file_(file), used_(file.tensors().size()) {}

const gguf::TensorInfo& WeightFinder::need(std::string_view name, std::initializer_list<int64_t> shape) {
  const auto* t = want(name, shape);
  if (!t) throw FileError({.path = file_.path(), .field = fmt::format("tensor {}", name), .found = "missing"});
  return *t;
}

const gguf::TensorInfo* WeightFinder::want(std::string_view name, std::initializer_list<int64_t> shape) {
  const auto* t = file_.tensor(name);
  if (!t) return nullptr;
  used_[static_cast<size_t>(t - file_.tensors().data())] = true;

  const auto refuse = [&](std::string field, std::string expected, std::string found, std::string hint = {}) {
    throw FileError({.path = file_.path(t->split),
                     .offset = t->info_offset,
                     .field = std::move(field),
                     .expected = std::move(expected),
                     .found = std::move(found),
                     .hint = std::move(hint)});
  };
  const Shape wanted = padded(shape);
  if (t->desc.shape != wanted) refuse(std::string(name), file_shape(wanted, shape.size()), file_shape(t->desc.shape, shape.size()));

  const bool is_vector = shape.size() == 1;
  if (is_vector && !fits_vector(t->desc.dtype)) refuse(std::string(name), "f32/f16/bf16", std::string(name_of(t->desc.dtype)));
  if (!is_vector && !fits_matrix(t->desc.dtype)) refuse(std::string(name), "a float or block format", std::string(name_of(t->desc.dtype)));
  if (is_vector)
    if (const auto bad = first_bad_value(t->desc, file_.data(*t)))
      throw FileError(
          {.path = file_.path(t->split), .offset = t->offset + bad->byte, .field = fmt::format("{}[{}]", name, bad->index), .found = bad->what});
  return t;
}

TensorDesc WeightFinder::assemble(std::string name, std::initializer_list<int64_t> shape, std::vector<Assembly::Piece> pieces) {
  const gguf::TensorInfo& first = *pieces.front().tensor;
  const TensorDesc desc{first.desc.dtype, padded(shape)};
  int64_t rows = 0;
  for (const auto& piece : pieces) {
    const auto& t = *piece.tensor;
    if (t.desc.dtype != desc.dtype)
      throw FileError({.path = file_.path(t.split),
                       .offset = t.info_offset,
                       .field = std::string(t.name),
                       .expected = fmt::format("{}, as {} has", name_of(desc.dtype), first.name),
                       .found = std::string(name_of(t.desc.dtype))});
    KERF_CHECK(t.desc.cols() == desc.cols() && piece.first_row >= 0 && piece.first_row + piece.rows <= t.desc.rows(), "a piece of another width");
    rows += piece.rows;
  }
  KERF_CHECK(rows == desc.rows(), "pieces of " + name + " that are not all of its rows");
  assemblies_.push_back({.name = std::move(name), .desc = desc, .pieces = std::move(pieces)});
  return desc;
}

int64_t WeightFinder::set_aside(std::string_view prefix) {
  int64_t n = 0;
  for (size_t i = 0; i < used_.size(); ++i) {
    if (!file_.tensors()[i].name.starts_with(prefix)) continue;
    used_[i] = true;
    ++n;
  }
  return n;
}

void WeightFinder::repaired(std::string what) {
  if (std::find(repairs_.begin(), repairs_.end(), what) == repairs_.end()) repairs_.push_back(std::move(what));
}

std::vector<std::string> WeightFinder::finish(bool strict) const {
  constexpr size_t kShown = 8;
  size_t unused = 0;
  std::string names;
  std::optional<uint64_t> offset;
  for (size_t i = 0; i < used_.size(); ++i) {
    if (used_[i]) continue;
    const auto& t = file_.tensors()[i];
    if (unused++ < kShown) names += fmt::format(" \"{}\"", t.name);
    if (!offset) offset = t.info_offset;
  }
  if (unused == 0) return {};
  if (unused > kShown) names += fmt::format(" and {} more", unused - kShown);
  const std::string found = fmt::format("{} unused tensor{}{}", unused, unused == 1 ? "" : "s", names);
  if (strict)
    throw FileError({.path = file_.path(), .offset = offset, .field = "tensors", .expected = "only those of the architecture", .found = found});
  return {fmt::format("{}: {}", printable(file_.path()), found)};
}

WeightBytes::WeightBytes(const gguf::File& file, const std::vector<Assembly>& assemblies) : file_(file) {
  for (const auto& a : assemblies) {
    assembled_.emplace(a.name, Assembled{.assembly = &a});
    for (const auto& piece : a.pieces) ++users_[piece.tensor];
  }
}

std::span<const std::byte> WeightBytes::of(const std::string& name) {
  const auto at = assembled_.find(name);
  if (at == assembled_.end()) return file_.data(*file_.tensor(name));
  Assembled& a = at->second;
  if (!a.memory.bytes().empty()) return a.memory.bytes();
  a.memory = Memory::blank(static_cast<uint64_t>(a.assembly->desc.bytes()), "the weight", name);
  const int64_t row = a.assembly->desc.row_bytes();
  auto out = a.memory.writable();
  for (const auto& piece : a.assembly->pieces) {
    const auto from = file_.data(*piece.tensor).subspan(static_cast<size_t>(piece.first_row * row), static_cast<size_t>(piece.rows * row));
    std::copy(from.begin(), from.end(), out.begin());
    out = out.subspan(from.size());
    if (--users_[piece.tensor] == 0) file_.release(*piece.tensor);
  }
  return a.memory.bytes();
}

void WeightBytes::release(const std::string& name) {
  const auto at = assembled_.find(name);
  if (at == assembled_.end())
    file_.release(*file_.tensor(name));
  else
    at->second.memory = {};
}

}  // namespace kerf
