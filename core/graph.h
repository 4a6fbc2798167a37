// A graph is a list: nodes are appended in execution order, values are indices. Single assignment, no cycles by
// construction. It says what is computed, never where, when or by which kernel.
#pragma once
#include <cstdint>
#include <initializer_list>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "core/op.h"
#include "core/tensor.h"

namespace kerf {

struct Value {
  uint32_t id = ~0u;
  bool operator==(const Value&) const = default;
  explicit operator bool() const { return id != ~0u; }
};

enum class Kind : uint8_t { computed, weight, input, state };
std::string_view name_of(Kind kind);

struct ValueInfo {
  std::string name{};  // unique in the graph
  TensorDesc desc{};
  Kind kind = Kind::computed;
  Value alias_of{};      // the state whose memory this is a newer version of
  std::string source{};  // weight: the tensor in the file (differs from name for a tied output head)
};

struct Node {
  std::string name{};  // unique; of the weight it uses ("blk.0.attn_q"), else scope and op ("blk.0.attn.rope_q")
  Op op{};
  std::vector<Value> in{};
  std::vector<Value> out{};
};

class Graph {
 public:
  /// A value that exists before the first node. `source` is the file's tensor for weights (default: `name`).
  Value leaf(Kind kind, std::string name, TensorDesc desc, std::string source = {});
  /// Appends a node with one output, which has the node's name; infers and checks shapes. @throws Error(runtime) naming the scoped node, the op, and
  /// the shapes expected and found.
  Value append(Op op, std::vector<Value> in, std::string_view name = {});
  /// The same for an op with several outputs: output i has the node's name with ".outputs[i]" behind it.
  std::vector<Value> append(Op op, std::vector<Value> in, std::string_view name, std::initializer_list<std::string_view> outputs);
  /// The same for any number of outputs, with all names given.
  std::vector<Value> append_named(Op op, std::vector<Value> in, std::string node, const std::vector<std::string>& names);
  /// Values that outlive the run: the caller reads them.
  void output(Value v) { outputs_.push_back(v); }

  const ValueInfo& operator[](Value v) const { return values_[v.id]; }
  const std::vector<ValueInfo>& values() const { return values_; }
  const std::vector<Node>& nodes() const { return nodes_; }
  const std::vector<Value>& outputs() const { return outputs_; }
  /// The memory a value lives in: itself, or the state it is a version of.
  Value storage(Value v) const { return values_[v.id].alias_of ? values_[v.id].alias_of : v; }
  /// @throws Error(runtime) if there is none of that name.
  Value find(std::string_view name) const;
  std::optional<Value> lookup(std::string_view name) const;

  /// Prefixes names of what is appended while it lives: scope("blk.3") then scope("attn") -> "blk.3.attn.".
  class Scope {
   public:
    Scope(Graph& graph, std::string_view name) : graph_(graph), keep_(graph.prefix_.size()) {
      graph.prefix_ += name;
      graph.prefix_ += '.';
    }
    ~Scope() { graph_.prefix_.resize(keep_); }
    Scope(const Scope&) = delete;
    Scope& operator=(const Scope&) = delete;

   private:
    Graph& graph_;
    size_t keep_;
  };
  [[nodiscard]] Scope scope(std::string_view name) { return {*this, name}; }

 private:
  Value add_value(ValueInfo info);
  /// The scope and `name`, else the weight among the inputs, else the op; with a number if that is taken.
  std::string node_name(const Op& op, const std::vector<Value>& in, std::string_view name, std::string_view first_output) const;
  std::vector<ValueInfo> values_;
  std::vector<Node> nodes_;
  std::vector<Value> outputs_;
  std::unordered_map<std::string, uint32_t> by_name_;
  std::string prefix_;
};

/// Output descriptions of an op on these inputs: the shape rules. @throws Error(runtime) with expected and found shapes.
std::vector<TensorDesc> infer(const Op& op, const std::vector<TensorDesc>& in);

}  // namespace kerf
