// The header of a GGUF file to be written (the format: loaders/gguf.h). Tensor data is the caller's: the header says where
// each tensor goes, so that a file of any size can be written piece by piece, in any order.
#pragma once
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/tensor.h"

namespace kerf::gguf {

class Writer {
 public:
  /// Where tensors begin: the default alignment, so that the file needs no general.alignment.
  static constexpr uint64_t kAlignment = 32;

  // Keys must differ from each other (KERF_CHECK at the end).
  void text(std::string_view key, std::string_view value);
  void u32(std::string_view key, int64_t value);  // 0..2^32-1 (KERF_CHECK)
  void f32(std::string_view key, float value);
  void i32s(std::string_view key, std::span<const int32_t> values);
  void booleans(std::string_view key, const std::vector<bool>& values);

  /// Adds a tensor after those before it. Names are shorter than 64 bytes and differ; the type is one that files may have (KERF_CHECK).
  /// Leading dimensions of 1 are not written.
  void tensor(std::string_view name, const TensorDesc& desc);

  /// Magic to padding: the file's first bytes.
  std::string header() const;
  /// Offset of tensor i in the file, in the order they were added.
  int64_t offset(size_t i) const;
  /// Of the whole file. Bytes between tensors are 0.
  int64_t bytes() const;

 private:
  void key(std::string_view key, uint32_t type);
  uint64_t header_bytes() const;
  std::string metadata_, infos_;
  std::vector<std::string> keys_, names_;
  std::vector<uint64_t> offsets_;  // within the data section
  uint64_t data_bytes_ = 0;
};

}  // namespace kerf::gguf
