#include "core/plan_builder.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "core/arena.h"
#include "core/error.h"
#include "core/text.h"

namespace kerf {

PlanBuilder::PlanBuilder(const Graph& graph, Placement placement, PlanShape shape, const Registry& registry, const KernelPolicy& policy)
    : graph_(graph), registry_(registry), policy_(policy), at_(graph.values().size()) {
  plan_.shape = shape;
  plan_.placement = std::move(placement);
  std::map<std::string_view, const Home*> homes;
  for (const auto& home : plan_.placement.homes) homes[home.name] = &home;
  for (uint32_t id = 0; id < at_.size(); ++id) {
    const auto& value = graph.values()[id];
    if (value.kind == Kind::computed) continue;
    DeviceId device = kHost;
    TensorDesc desc = value.desc;
    if (value.kind != Kind::input) {
      const auto home = homes.find(value.name);
      if (home == homes.end()) throw Error(ErrorKind::runtime, fmt::format("\"{}\" has no home in this placement", value.name));
      if (home->second->desc != value.desc)
        throw Error(ErrorKind::runtime,
                    fmt::format("\"{}\" is {} in the placement, {} in the model", value.name, to_text(home->second->desc), to_text(value.desc)));
      device = home->second->device;
      desc.dtype = home->second->stored;
    }
    plan_.places.push_back({.value = {id}, .device = device, .desc = desc});
    at_[id] = {plan_.places.size() - 1};
  }
}

std::optional<size_t> PlanBuilder::find(Value v, const DeviceId& device, DType dtype) const {
  if (dtype == graph_[v].desc.dtype || graph_[v].kind == Kind::weight) {  // a weight is what its home stores
    for (const size_t i : at_[v.id])
      if (plan_.places[i].device == device) return i;
    return std::nullopt;
  }
  for (size_t i = plan_.places.size(); i-- > 0;) {
    const Place& p = plan_.places[i];
    if (p.value == v && p.device == device && p.desc.dtype == dtype) return i;
  }
  return std::nullopt;
}

std::string PlanBuilder::why_not(const Kernel& kernel, const Problem& p, const DeviceId& device, std::string_view node) const {
  if (!runs_on(kernel.backend, device)) return fmt::format("it does not run on {}", device);
  return registry_.why_not(kernel, p, policy_on(policy_, device), node);
}

size_t PlanBuilder::new_place(Value v, const DeviceId& device, TensorDesc desc) {
  const size_t step = plan_.steps.size();
  plan_.places.push_back({.value = v, .device = device, .desc = desc, .in_arena = true, .first = step, .last = step});
  return plan_.places.size() - 1;
}

size_t PlanBuilder::copy(Value v, const DeviceId& from, const DeviceId& to) {
  const auto source = find(v, from);
  const auto& value = graph_[v];
  if (!source) throw Error(ErrorKind::runtime, fmt::format("copy of {}: it is not on {} at this step", value.name, from));
  if (find(v, to)) throw Error(ErrorKind::runtime, fmt::format("copy of {}: it is on {} already", value.name, to));
  if (value.kind == Kind::state || value.alias_of)
    throw Error(ErrorKind::runtime, fmt::format("copy of {}: state never leaves its home", value.name));
  const auto& homes = plan_.placement.homes;
  if (to != kHost && std::none_of(homes.begin(), homes.end(), [&](const Home& h) { return h.device == to; }))
    throw Error(ErrorKind::runtime, fmt::format("copy of {}: nothing lives on {}", value.name, printable(to)));
  used(*source);
  const TensorDesc desc = plan_.places[*source].desc;
  const size_t target = new_place(v, to, desc);
  at_[v.id].push_back(target);
  plan_.steps.push_back(CopyStep{.from = *source, .to = target, .bytes = desc.bytes()});
  return target;
}

size_t PlanBuilder::convert(Value v, DType to, const DeviceId& device, const Kernel& kernel) {
  const auto source = find(v, device);
  if (!source) throw Error(ErrorKind::runtime, fmt::format("convert of {}: it is not on {} at this step", graph_[v].name, device));
  Problem p = problem(Convert{.to = to}, {graph_[v].desc});
  if (const auto why = why_not(kernel, p, device, "convert"); !why.empty())
    throw Error(ErrorKind::runtime, fmt::format("convert of {}: {}: {}", graph_[v].name, kernel.name(), why));
  used(*source);
  const size_t target = new_place(v, device, p.out[0]);
  const auto scratch = static_cast<int64_t>(kernel.scratch(p));
  plan_.scratch[device] = std::max(plan_.scratch[device], device_aligned(scratch));
  plan_.steps.push_back(
      ConvertStep{.from = *source, .to = target, .device = device, .kernel = kernel.name(), .problem = std::move(p), .scratch = scratch});
  return target;
}

void PlanBuilder::run(size_t node_index, const DeviceId& device, const Kernel& kernel, DType activation, std::optional<DType> writes) {
  const Node& node = graph_.nodes()[node_index];
  if (node_index != nodes_run_)
    throw Error(ErrorKind::runtime, fmt::format("run of {}: the next node of the graph is {}", node.name,
                                                nodes_run_ < graph_.nodes().size() ? graph_.nodes()[nodes_run_].name : "none"));
  auto p = problem_of(graph_, node, activation, plan_.placement);
  if (!p) throw Error(ErrorKind::runtime, fmt::format("run of {}: its input has no {} form", node.name, name_of(activation)));
  if (writes) p->out[0].dtype = *writes;
  if (const auto why = why_not(kernel, *p, device, node.name); !why.empty())
    throw Error(ErrorKind::runtime, fmt::format("run of {}: {}: {}", node.name, kernel.name(), why));
  RunStep step{.node = node_index, .device = device, .kernel = kernel.name(), .scratch = static_cast<int64_t>(kernel.scratch(*p))};
  for (size_t i = 0; i < node.in.size(); ++i) {
    const Value v = node.in[i];
    const DType dtype = i == 0 && reads_formats(node.op) ? activation : graph_[v].desc.dtype;
    const auto place = find(v, device, dtype);
    if (!place)
      throw Error(ErrorKind::runtime, fmt::format("run of {}: its input {} is not on {} as {}", node.name, graph_[v].name, device, name_of(dtype)));
    used(*place);
    step.in.push_back(*place);
  }
  for (size_t i = 0; i < node.out.size(); ++i) {
    const Value v = node.out[i];
    if (graph_[v].alias_of) {  // a newer version of a state: the same bytes
      plan_.places.push_back(plan_.places[step.in[*alias_of(node.op, i)]]);
      plan_.places.back().value = v;
      at_[v.id] = {plan_.places.size() - 1};
    } else {
      const size_t place = new_place(v, device, p->out[i]);
      if (p->out[i].dtype == graph_[v].desc.dtype) at_[v.id] = {place};  // else readers find it by that format
      step.out.push_back(place);
      continue;
    }
    step.out.push_back(at_[v.id][0]);
  }
  plan_.scratch[device] = std::max(plan_.scratch[device], device_aligned(step.scratch));
  step.problem = std::move(*p);
  plan_.steps.push_back(std::move(step));
  ++nodes_run_;
}

std::optional<size_t> PlanBuilder::next_node() const {
  if (nodes_run_ == graph_.nodes().size()) return std::nullopt;
  return nodes_run_;
}

Plan PlanBuilder::finish() {
  if (const auto missing = next_node()) throw Error(ErrorKind::runtime, fmt::format("the plan ends before node {}", graph_.nodes()[*missing].name));
  for (const Value v : graph_.outputs()) {
    auto place = find(v, kHost);
    if (!place) place = copy(v, plan_.places[at_[v.id][0]].device, kHost);
    plan_.outputs.push_back(*place);
  }
  for (const size_t i : plan_.outputs) plan_.places[i].last = plan_.steps.size();

  std::map<DeviceId, std::vector<size_t>> by_device;
  for (size_t i = 0; i < plan_.places.size(); ++i)
    if (plan_.places[i].in_arena) by_device[plan_.places[i].device].push_back(i);
  for (const auto& [device, places] : by_device) {
    std::vector<Lifetime> lives;
    for (const size_t i : places) lives.push_back({plan_.places[i].desc.bytes(), plan_.places[i].first, plan_.places[i].last});
    const auto layout = lay_out(lives, kDeviceAlignment);
    for (size_t k = 0; k < places.size(); ++k) plan_.places[places[k]].offset = layout.offsets[k];
    plan_.arena[device] = layout.bytes;
  }
  for (const auto& [device, bytes] : plan_.arena) plan_.memory[device].arena += bytes;
  for (const auto& [device, bytes] : plan_.scratch) plan_.memory[device].arena += bytes;
  std::set<std::string> mapped;  // tensors of the file that the host uses in place
  for (const auto& home : plan_.placement.homes) {
    auto& memory = plan_.memory[home.device];
    if (home.kind == Kind::state)
      memory.state += device_aligned(home.bytes());
    else if (home.device != kHost || home.is_prepared())
      memory.weights += device_aligned(home.bytes());
    else if (mapped.insert(graph_[graph_.find(home.name)].source).second)
      memory.weights += home.desc.bytes();
  }
  return std::move(plan_);
}

}  // namespace kerf
