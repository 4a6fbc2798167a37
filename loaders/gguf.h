// GGUF, the file format of llama.cpp's models. Source: ggml-org/ggml docs/gguf.md, restated:
//
//   magic "GGUF", u32 version (2 or 3), u64 n_tensors, u64 n_kv                                        little endian
//   n_kv times:      key (u64 length, bytes), u32 type, value                                          metadata
//   n_tensors times: name (u64 length, bytes), u32 n_dims, n_dims x u64 ne (innermost first), u32 type, u64 offset
//   padding to general.alignment (default 32), then the tensor data; offsets count from here
//
// A model may be split over files NAME-00001-of-0000N.gguf; the first holds the metadata of all.
// Everything read from a file is hostile until checked: nothing is allocated, indexed or multiplied before its bound is
// known, and every refusal is a FileError with path, offset, field, expected and found.
#pragma once
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "core/tensor.h"

namespace kerf::gguf {

/// Metadata value. Integers of all widths are kept with their type's width in `Entry::type`; arrays are homogeneous.
/// Arrays of u8 and i8 stay what they are, a view of the file: widened, they would need eight times the file's memory
/// (the reader promises four).
using Bytes = std::span<const std::byte>;
using Array = std::variant<std::vector<int64_t>, std::vector<uint64_t>, std::vector<double>, std::vector<bool>, std::vector<std::string_view>, Bytes>;
using Scalar = std::variant<int64_t, uint64_t, double, bool, std::string_view>;
enum class Type : uint32_t { u8, i8, u16, i16, u32, i32, f32, boolean, string, array, u64, i64, f64 };
std::string_view name_of(Type type);
/// Items of an array of any element type.
size_t length(const Array& array);

struct Entry {
  std::string_view key{};
  Type type = Type::u8;
  Type element = Type::u8;  // arrays only
  std::variant<Scalar, Array> value{};
  uint64_t offset = 0;  // of the value in the file, for messages
};

struct TensorInfo {
  std::string_view name{};
  TensorDesc desc{};
  int split = 0;             // which file of a split model
  uint64_t offset = 0;       // of the data, from the start of that file
  uint64_t info_offset = 0;  // of the tensor's entry in the header, for messages
};

enum class Access : uint8_t {
  mmap,  // pages come in as they are touched; the default
  read,  // the whole file is read into memory of our own at open (--no-mmap)
};

struct Options {
  Access access = Access::mmap;
  bool strict = false;  // warnings (unused bytes, unknown tails) become errors
};

/// One model: all files of it, checked as far as the container goes.
class File {
 public:
  /// Opens PATH and, if it is the first of a split model, the others. @throws FileError
  static File open(const std::filesystem::path& path, Options options = {});
  /// The same reader over bytes in memory (fuzzing, tests). The bytes must outlive the File.
  static File from_bytes(std::span<const std::byte> bytes, std::string name, Options options = {});
  File(File&&) noexcept;
  File& operator=(File&&) noexcept;
  ~File();

  const std::string& path(int split = 0) const;
  int splits() const;
  uint32_t version() const;
  uint64_t alignment() const;
  uint64_t bytes() const;  // of all files

  std::span<const Entry> metadata() const;
  const Entry* find(std::string_view key) const;  // null if absent
  std::span<const TensorInfo> tensors() const;
  const TensorInfo* tensor(std::string_view name) const;  // null if absent
  /// The tensor's bytes: inside the mapping (or our copy), inside the file, never past it.
  std::span<const std::byte> data(const TensorInfo& t) const;

  /// The tensor's bytes are not read again: gives its whole pages back to the system (of a mapping they would come in again
  /// when touched; of a copy they are lost; bytes that are the caller's are left alone).
  void release(const TensorInfo& t) const;

  /// Things worth a line on stderr that are no errors: bytes after the last tensor, ids out of range, ...
  const std::vector<std::string>& warnings() const;
  /// The mapped ranges (none with Access::read), for the guard that turns a truncated mapping into an error (experiments/map_guard.h).
  struct Mapping {
    const std::byte* data = nullptr;
    size_t size = 0;
    std::string path{};
  };
  std::vector<Mapping> mappings() const;

 private:
  struct State;
  explicit File(std::unique_ptr<State> state);
  static File finish(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace kerf::gguf
