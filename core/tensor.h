// A TensorDesc says what a tensor is; a TensorView says where its bytes are. Neither owns memory.
#pragma once
#include <array>
#include <cstddef>
#include <string>

#include "core/dtype.h"

namespace kerf {

/// Row-major, innermost dimension last; unused leading dimensions are 1. GGUF's ne[] is this order reversed.
using Shape = std::array<int64_t, 4>;

struct TensorDesc {
  DType dtype = DType::f32;
  Shape shape{1, 1, 1, 1};

  constexpr int64_t cols() const { return shape[3]; }
  constexpr int64_t rows() const { return shape[0] * shape[1] * shape[2]; }
  constexpr int64_t size() const { return rows() * cols(); }
  constexpr int64_t row_bytes() const { return kerf::row_bytes(dtype, cols()); }
  /// Rows are padded to whole tiles in formats that store several rows together.
  constexpr int64_t bytes() const {
    const int64_t tile = info(dtype).tile_rows;
    return (rows() + tile - 1) / tile * tile * row_bytes();
  }
  bool operator==(const TensorDesc&) const = default;
};

constexpr TensorDesc matrix(DType t, int64_t rows, int64_t cols) { return {t, {1, 1, rows, cols}}; }
constexpr TensorDesc vector_of(DType t, int64_t n) { return {t, {1, 1, 1, n}}; }

/// "q4_k [1536, 8960]": outer to inner, leading ones dropped.
std::string to_text(const TensorDesc& d);

struct TensorView {
  TensorDesc desc{};
  void* data = nullptr;

  template <class T>
  T* as() const {
    return static_cast<T*>(data);
  }
  /// First byte of row r; only for formats whose rows are stored one by one (tile_rows 1).
  template <class T>
  T* row(int64_t r) const {
    return reinterpret_cast<T*>(static_cast<std::byte*>(data) + r * desc.row_bytes());
  }
};

}  // namespace kerf
