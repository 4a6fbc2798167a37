// Small named graph rewrites: each puts one fused op in the place of several, computing the same values (up to the rounding
// of what is no longer stored in between). Which ones may happen is the user's choice (--fuse), where they happen that of a
// predicate: the planner's, which asks for a kernel and one device, or a plan file's, which names the fused nodes.
#pragma once
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/graph.h"
#include "core/kernel.h"
#include "core/placement.h"

namespace kerf {

struct RewriteInfo {
  std::string_view name{}, what{};
};
/// In the order in which they are applied.
std::span<const RewriteInfo> rewrites();

/// A fused node that could take the place of `parts` (nodes of `graph`, in order).
struct Candidate {
  const Graph& graph;
  std::vector<size_t> parts{};
  Node node{};  // inputs are values of `graph`; outputs have the names of the parts' outputs they replace
};

/// The graph with every candidate of the rewrites in `names` (or "all") that `wanted` agrees to.
Graph fuse(const Graph& graph, const KernelPolicy& policy, const std::function<bool(const Candidate&)>& wanted);

/// Whether one kernel runs the candidate on the device of all its weights and states, of a backend that --backend does not
/// rank below those of the parts, without rounding operands more coarsely than they do or multiplying floats where they multiply codes, and no pin
/// names a part.
bool fits(const Candidate& candidate, const Registry& registry, const KernelPolicy& policy, const Placement& placement);

}  // namespace kerf
