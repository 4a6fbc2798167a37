// Where each weight and each piece of state lives, and because of which rule. Rules are what a person writes:
// an ordered list of `pattern device` lines, first match wins.
#pragma once
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/device.h"
#include "core/graph.h"

namespace kerf {

struct Rule {
  std::string pattern{};  // ECMAScript regular expression, searched for in the name of a weight or state
  DeviceId device{};
  std::string origin{};  // where it was written: "-ot", "moe.rules:3", "-ngl 12"
};

/// Whether an ECMAScript regular expression is found in a name. @throws Error(usage) at once if it is none, or is too long for
/// std::regex; `origin` is where it was written.
std::function<bool(const std::string& name)> name_matcher(const std::string& pattern, const std::string& origin);

/// Text of a rules file: one `PATTERN DEVICE` a line, # starts a comment.
/// @throws FileError naming the line, for one that is neither or a pattern that is no regular expression.
std::vector<Rule> parse_rules(std::string_view text, const std::string& path);
/// "REGEX=DEVICE", several joined by commas, as -ot takes it. @throws Error(usage)
std::vector<Rule> parse_override(std::string_view text);

/// -ngl: the last `n` of (n_layer layers + the output head) go to `devices`, in order, evenly or in proportion to
/// `tensor_split` (llama.cpp's meaning: the head counts as one and comes last). A layer's KV goes with it.
std::vector<Rule> layer_rules(int64_t n_layer, int64_t n, const std::vector<DeviceId>& devices, const std::vector<double>& tensor_split);

/// --cpu-moe, --n-cpu-moe: the weights of experts (not routers, not shared experts) of the first `n` layers, or of all, stay on
/// the host, whatever the rules that follow say (llama.cpp's meaning).
std::vector<Rule> expert_rules(int64_t n_layer, std::optional<int64_t> n);

struct Home {
  std::string name{};  // of the weight or state in the graph
  Kind kind = Kind::weight;
  TensorDesc desc{};
  DeviceId device{};
  std::string because{};      // the rule that put it there
  DType stored = DType::f32;  // the format its bytes have there; weights may be prepared for a kernel when they are loaded
  std::string prepared_by{};  // the Convert kernel that does it; empty: stored as the file has it
  bool is_prepared() const { return !prepared_by.empty(); }
  int64_t bytes() const { return TensorDesc{stored, desc.shape}.bytes(); }
};

struct Placement {
  std::vector<Home> homes{};
  /// @throws Error(runtime) if the name has no home.
  const Home& of(std::string_view name) const;
};

/// Gives every weight and state of the graph a home; what no rule matches lives on the host.
/// @throws Error(usage) if a rule names a device that is not in `devices`.
Placement place(const Graph& graph, const std::vector<Rule>& rules, const std::vector<DeviceId>& devices);

}  // namespace kerf
