// Tensors of a file looked up by name with the shape the hyper-parameters imply. A model binds its weights through one
// WeightFinder, so that a wrong file fails with the tensor's name and both shapes before any of it is used.
#pragma once
#include <cstdint>
#include <initializer_list>
#include <string>
#include <string_view>
#include <vector>

#include "core/error.h"
#include "loaders/gguf.h"

namespace kerf {

/// Shapes are given outermost first, as in TensorDesc; messages print them as the file does (innermost first).
/// One-dimensional tensors (norms, biases, rope factors) must be f32, f16 or bf16 and are scanned for NaN and infinity:
/// one bad value in a norm makes every logit NaN, and they are small. Matrices may have any float or block format.
class WeightFinder {
 public:
  explicit WeightFinder(const gguf::File& file);

  /// @throws FileError if the tensor is missing, or has another shape or an unfit dtype.
  const gguf::TensorInfo& need(std::string_view name, std::initializer_list<int64_t> shape);
  /// An optional tensor: null if the file has none, else checked like need().
  const gguf::TensorInfo* want(std::string_view name, std::initializer_list<int64_t> shape);

  /// To be called after the last lookup: one warning that names the tensors nobody asked for.
  /// @throws FileError instead if `strict`.
  std::vector<std::string> finish(bool strict = false) const;

 private:
  const gguf::File& file_;
  std::vector<bool> used_;
};

/// `kerf ... --check`: reads every tensor and looks for NaN and infinity in float values and in block scales.
/// @return one error per tensor that has any, naming the first place: `PATH: offset N: NAME block 0: scale is inf`.
std::vector<FileError> scan_values(const gguf::File& file);

}  // namespace kerf
