// Tensors of a file looked up by name with the shape the hyper-parameters imply. A model binds its weights through one
// WeightFinder, so that a wrong file fails with the tensor's name and both shapes before any of it is used.
#pragma once
#include <cstdint>
#include <initializer_list>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "core/error.h"
#include "loaders/file.h"
#include "loaders/gguf.h"

namespace kerf {

/// A weight that the file holds in parts: ranges of rows of its tensors, one after the other.
struct Assembly {
  struct Piece {
    const gguf::TensorInfo* tensor = nullptr;
    int64_t first_row = 0, rows = 0;
  };
  std::string name{};
  TensorDesc desc{};
  std::vector<Piece> pieces{};
};

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

  bool has(std::string_view name) const { return file_.tensor(name) != nullptr; }

  /// Declares a weight of that name, made of pieces that need() found. They have one dtype. @throws FileError
  TensorDesc assemble(std::string name, std::initializer_list<int64_t> shape, std::vector<Assembly::Piece> pieces);
  const std::vector<Assembly>& assemblies() const { return assemblies_; }

  /// Counts the tensors of that prefix as known: they belong to the file, but not to what is run. @return how many there are
  int64_t set_aside(std::string_view prefix);

  /// What a dialect writes in another way, and how it was taken; said once, however many layers say it.
  void repaired(std::string what);
  const std::vector<std::string>& repairs() const { return repairs_; }

  /// To be called after the last lookup: one warning that names the tensors nobody asked for.
  /// @throws FileError instead if `strict`.
  std::vector<std::string> finish(bool strict = false) const;

 private:
  const gguf::File& file_;
  std::vector<bool> used_;
  std::vector<Assembly> assemblies_;
  std::vector<std::string> repairs_;
};

/// Bytes of weights: of the file's tensors where they are, of assembled ones in memory that is filled when they are asked
/// for. What an assembly was made of is given back to the system then.
class WeightBytes {
 public:
  /// Both must outlive it.
  WeightBytes(const gguf::File& file, const std::vector<Assembly>& assemblies);
  /// Valid until release(). @throws Error(memory)
  std::span<const std::byte> of(const std::string& name);
  /// They are not asked for again.
  void release(const std::string& name);
  /// Whether they take memory beside the file's.
  bool is_assembled(const std::string& name) const { return assembled_.contains(name); }

 private:
  struct Assembled {
    const Assembly* assembly = nullptr;
    Memory memory{};
  };
  const gguf::File& file_;
  std::map<std::string, Assembled> assembled_;
  std::map<const gguf::TensorInfo*, int> users_;  // pieces that are still to be read, by tensor
};

/// `kerf ... --check`: reads every tensor and looks for NaN and infinity in float values and in block scales.
/// @return one error per tensor that has any, naming the first place: `PATH: offset N: NAME block 0: scale is inf`.
std::vector<FileError> scan_values(const gguf::File& file);

}  // namespace kerf
