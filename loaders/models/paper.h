// The vocabulary forward passes are written in: thin names over Graph::append, so that a pass reads like its paper.
//
// Never nest two of these calls as sibling arguments of one call: C++ leaves the order of argument evaluation open, and
// the order of nodes is part of a plan. Name the intermediates.
#pragma once
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/graph.h"
#include "loaders/models/model.h"
#include "loaders/weights.h"

namespace kerf {

/// A weight bound to a tensor of the file, before any graph exists.
struct Weight {
  std::string name{};  // in graphs, plans and rules
  TensorDesc desc{};
  std::string source{};  // the file's tensor; another one than `name` for a tied output head
  explicit operator bool() const { return !name.empty(); }
};

/// Binds weights by GGUF name and shape (outermost first), under a prefix such as "blk.3.".
class Binder {
 public:
  explicit Binder(WeightFinder& finder, std::string prefix = {}) : finder_(finder), prefix_(std::move(prefix)) {}
  Weight need(std::string_view name, std::initializer_list<int64_t> shape);
  /// Empty if the file has no such tensor.
  Weight want(std::string_view name, std::initializer_list<int64_t> shape);
  /// A tensor that a dialect of the format calls `other`.
  Weight need(std::string_view name, std::string_view other, std::initializer_list<int64_t> shape);
  /// `stem`_exps.weight [X,N,K], or of files from before 2024 `stem`.0.weight, `stem`.1.weight, ... [N,K], one after the other.
  Weight need_experts(std::string_view stem, int64_t X, int64_t N, int64_t K);
  /// A weight made of rows of a tensor that need() found.
  struct Rows {
    int64_t first = 0, count = 0;
  };
  Weight rows_of(const Weight& whole, std::string_view name, const std::vector<Rows>& rows);
  void repaired(std::string what) { finder_.repaired(std::move(what)); }
  bool has(std::string_view name) const { return finder_.has(prefix_ + std::string(name)); }

 private:
  WeightFinder& finder_;
  std::string prefix_;
};

struct Paper {
  Graph& g;

  /// The weight as a value of this graph.
  Value weight(const Weight& w);
  /// The same as f32: norms, biases and factors that a file stores shorter are widened by a visible Convert node.
  Value weight_f32(const Weight& w);

  Value linear(Value x, const Weight& w, const Weight& bias = {});
  Value norm(Value x, const Weight& w, float eps);
  Value rope(Value x, Value table, Rope r, std::string_view name) { return g.append(r, {x, table}, name); }
  Value add(Value a, Value b) { return g.append(Add{}, {a, b}); }
  Value swiglu(Value gate, Value up) { return g.append(SwiGlu{}, {gate, up}); }
  /// Columns first .. first+count-1 of each group of columns.
  Value columns(Value x, Columns c, std::string_view name) { return g.append(c, {x}, name); }
  /// Each slot of ids [T,U] multiplied with the rows of its expert: x [T,K] or [T*U,K], w [X,N,K] -> [T*U,N].
  Value experts(Value x, const Weight& w, Value ids);
  Value rows(Value table, Value ids, std::string_view name = {}) { return g.append(Rows{}, {table, ids}, name); }
};

}  // namespace kerf
