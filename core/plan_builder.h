// Builds a Plan step by step and refuses what could not be executed. The planner decides with it, the reader of plan
// files replays with it: both produce plans that hold by the same checks.
#pragma once
#include <map>
#include <optional>
#include <string>

#include "core/plan.h"

namespace kerf {

class PlanBuilder {
 public:
  PlanBuilder(const Graph& graph, Placement placement, PlanShape shape, const Registry& registry, const KernelPolicy& policy);

  /// The place of a value on a device in a format, if it is there by now.
  std::optional<size_t> find(Value v, const DeviceId& device, DType dtype) const;
  std::optional<size_t> find(Value v, const DeviceId& device) const { return find(v, device, graph_[v].desc.dtype); }
  /// Where a value is, in its own format, oldest place first.
  const std::vector<size_t>& places_of(Value v) const { return at_[v.id]; }
  const Place& place(size_t i) const { return plan_.places[i]; }

  size_t copy(Value v, const DeviceId& from, const DeviceId& to);
  size_t convert(Value v, DType to, const DeviceId& device, const Kernel& kernel);
  /// @param writes the format of the output, if its readers want another than the op's own
  void run(size_t node, const DeviceId& device, const Kernel& kernel, DType activation, std::optional<DType> writes = {});
  /// Copies the outputs to the host if they are elsewhere, lays out the arenas and counts memory.
  Plan finish();

  const Graph& graph() const { return graph_; }
  const Plan& plan() const { return plan_; }
  std::optional<size_t> next_node() const;  // the first node not run yet

 private:
  std::string why_not(const Kernel& kernel, const Problem& p, const DeviceId& device, std::string_view node) const;
  size_t new_place(Value v, const DeviceId& device, TensorDesc desc);
  void used(size_t place) { plan_.places[place].last = plan_.steps.size(); }
  const Graph& graph_;
  const Registry& registry_;
  const KernelPolicy& policy_;
  Plan plan_;
  std::vector<std::vector<size_t>> at_;  // by value: places in the value's own format
  size_t nodes_run_ = 0;
};

/// The kernel for a node on a device, and the format it reads its activations in (f32 unless a matmul kernel wants another).
struct KernelChoice {
  const Kernel* kernel = nullptr;
  DType activation = DType::f32;
};
KernelChoice choose_kernel(const Graph& graph, const Node& node, const DeviceId& device, const Registry& registry, const KernelPolicy& policy,
                           const Placement& placement);

/// The node's problem with its first input in format `activation` and its weights as their homes store them; nothing if
/// that format can not hold the input.
std::optional<Problem> problem_of(const Graph& graph, const Node& node, DType activation, const Placement& placement);

/// Where a node must run because of what it reads, or nothing: the home of its state, else of its largest weight.
std::optional<DeviceId> pulled_to(const Graph& graph, const Node& node, const Placement& placement);

/// The place of `k`'s backend in --backend's order.
size_t backend_rank(const Kernel& k, const KernelPolicy& policy);

}  // namespace kerf
