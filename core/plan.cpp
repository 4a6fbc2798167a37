#include "core/plan.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "core/error.h"
#include "core/plan_builder.h"
#include "core/text.h"

namespace kerf {
namespace {

DeviceId choose_device(const PlanBuilder& b, size_t index) {
  const Graph& g = b.graph();
  const Node& node = g.nodes()[index];
  const Placement& placement = b.plan().placement;
  if (const auto home = pulled_to(g, node, placement)) return *home;
  std::optional<DeviceId> ahead;  // where the next weight or state waits
  for (size_t i = index + 1; !ahead && i < g.nodes().size(); ++i) ahead = pulled_to(g, g.nodes()[i], placement);
  const auto moved = [&](const DeviceId& d) {
    int64_t sum = 0;
    for (const Value v : node.in)
      if (g[v].kind != Kind::input && !b.find(v, d)) sum += g[v].desc.bytes();  // inputs are a few integers, wanted everywhere
    return sum;
  };
  DeviceId best = ahead.value_or(kHost);
  for (const Value v : node.in)
    for (const size_t p : b.places_of(v))
      if (moved(b.place(p).device) < moved(best)) best = b.place(p).device;
  return best;
}

[[noreturn]] void no_kernel(const Graph& graph, const Node& node, const DeviceId& device, const Registry& registry, const KernelPolicy& policy,
                            const Placement& placement) {
  const bool host = runs_on("cpu", device);
  throw Error(ErrorKind::usage, fmt::format("no kernel of {} can run it", fmt::join(policy_on(policy, device).backends, ", ")), node.name,
              fmt::format("try {}; the candidates were\n{}", host ? "--backend reference" : "to place it on cpu",
                          explain(graph, node, device, registry, policy, placement)));
}

/// A pin that names a node must hold, so its kernel must run where the node does.
void check_pins(const Node& node, const DeviceId& device, const KernelPolicy& policy) {
  for (const auto& pin : policy.pins) {
    const std::string_view backend = std::string_view(pin.kernel).substr(0, pin.kernel.find('/'));
    if (pin.op == node.name && !runs_on(backend, device))
      throw Error(ErrorKind::usage, fmt::format("{} does not run on {}, where {} is", pin.kernel, device, node.name), "--kernel " + pin.op,
                  "name a kernel of that device, or place the node's weight elsewhere");
  }
}

/// The format in which all readers of the node's output want it, if that is one and not the op's own.
std::optional<DType> format_of_readers(const Graph& graph, const Node& node, const DeviceId& device, const Registry& registry,
                                       const KernelPolicy& policy, const Placement& placement) {
  if (node.out.size() != 1) return std::nullopt;
  const Value v = node.out[0];
  if (graph[v].alias_of || std::find(graph.outputs().begin(), graph.outputs().end(), v) != graph.outputs().end()) return std::nullopt;
  std::optional<DType> format;
  for (const Node& reader : graph.nodes()) {
    const auto uses = std::count(reader.in.begin(), reader.in.end(), v);
    if (uses == 0) continue;
    if (uses > 1 || reader.in[0] != v || !reads_formats(reader.op) || pulled_to(graph, reader, placement) != device) return std::nullopt;
    const KernelChoice choice = choose_kernel(graph, reader, device, registry, policy, placement);
    if (!choice.kernel || choice.activation == DType::f32 || (format && *format != choice.activation)) return std::nullopt;
    format = choice.activation;
  }
  return format;
}

}  // namespace

size_t backend_rank(const Kernel& k, const KernelPolicy& policy) {
  const auto it = std::find(policy.backends.begin(), policy.backends.end(), k.backend);
  return static_cast<size_t>(it - policy.backends.begin());
}

std::optional<DeviceId> pulled_to(const Graph& g, const Node& node, const Placement& placement) {
  for (const Value v : node.in)
    if (g[g.storage(v)].kind == Kind::state) return placement.of(g[g.storage(v)].name).device;
  int64_t most = 0;
  std::optional<DeviceId> device;
  for (const Value v : node.in)
    if (g[v].kind == Kind::weight && g[v].desc.bytes() > most) {
      most = g[v].desc.bytes();
      device = placement.of(g[v].name).device;
    }
  return device;
}

std::optional<Problem> problem_of(const Graph& graph, const Node& node, DType activation, const Placement& placement) {
  std::vector<TensorDesc> in;
  for (const Value v : node.in) {
    in.push_back(graph[v].desc);
    if (graph[v].kind == Kind::weight) in.back().dtype = placement.of(graph[v].name).stored;
  }
  if (in[0].dtype != activation && reads_formats(node.op)) {
    if (in[0].dtype != DType::f32 || in[0].cols() % info(activation).block_values != 0) return std::nullopt;
    in[0].dtype = activation;
  }
  return problem(node.op, std::move(in));
}

namespace {

/// Activations in bf16 (8 bits) would cost weights of floats their precision. A policy that also offers 15 bits does not take them:
/// where those do not fit (rows are no multiple of 64), f32 does.
bool too_coarse(const Problem& p, const KernelPolicy& policy) {
  const auto& offered = policy.activations;
  if (p.in[0].dtype != DType::bf16_t16 || std::find(offered.begin(), offered.end(), DType::q15_t16) == offered.end()) return false;
  const auto e = expert_inputs(p.op);
  const auto* several = std::get_if<MatMuls>(&p.op);  // whose addends are f32 too
  const size_t weights = e ? e->count : several ? static_cast<size_t>(several->count) : p.in.size() - 1;
  return std::any_of(p.in.begin() + 1, p.in.begin() + 1 + static_cast<std::ptrdiff_t>(weights),
                     [](const TensorDesc& w) { return info(w.dtype).block_values == 1; });
}

}  // namespace

KernelChoice choose_kernel(const Graph& graph, const Node& node, const DeviceId& device, const Registry& registry, const KernelPolicy& asked,
                           const Placement& placement) {
  const KernelPolicy policy = policy_on(asked, device);
  const std::vector<DType> plain{DType::f32};
  KernelChoice best;
  for (const DType activation : reads_formats(node.op) ? policy.activations : plain) {
    const auto p = problem_of(graph, node, activation, placement);
    if (!p || (reads_formats(node.op) && too_coarse(*p, policy))) continue;
    const Kernel* k = registry.best(*p, policy, node.name);
    if (!k) continue;
    if (best.kernel && backend_rank(*best.kernel, policy) < backend_rank(*k, policy)) continue;
    if (!best.kernel || backend_rank(*k, policy) < backend_rank(*best.kernel, policy) || k->preference > best.kernel->preference)
      best = {k, activation};
  }
  return best;
}

void prepare(Placement& placement, const Graph& graph, const Registry& registry, const KernelPolicy& policy) {
  if (!policy.repack) return;
  std::map<std::string_view, std::vector<const Node*>> readers;
  for (const Node& node : graph.nodes())
    for (const Value v : node.in)
      if (graph[v].kind == Kind::weight) readers[graph[v].name].push_back(&node);
  for (auto& home : placement.homes) {
    const auto stored = interleaved(home.desc.dtype);
    const auto& nodes = readers[home.name];
    if (home.kind != Kind::weight || !stored || nodes.empty()) continue;
    if (!std::all_of(nodes.begin(), nodes.end(), [&](const Node* n) { return reads_formats(n->op) && graph[n->in[0]].name != home.name; })) continue;
    // Experts are read as tokens need them: to repack them would bring all of them into memory.
    if (!policy.repack_experts && std::any_of(nodes.begin(), nodes.end(), [](const Node* n) { return expert_inputs(n->op).has_value(); })) continue;
    const Kernel* convert =
        registry.best(problem(Convert{.to = *stored}, {home.desc}), policy_on(policy, kHost), "convert");  // before it is uploaded
    if (!convert) continue;
    const KernelPolicy there = policy_on(policy, home.device);
    const KernelChoice plain = choose_kernel(graph, *nodes[0], home.device, registry, policy, placement);
    home.stored = *stored;
    const KernelChoice prepared = choose_kernel(graph, *nodes[0], home.device, registry, policy, placement);
    const bool better = prepared.kernel && (!plain.kernel || (backend_rank(*prepared.kernel, there) == backend_rank(*plain.kernel, there) &&
                                                              prepared.kernel->preference > plain.kernel->preference));
    if (better)
      home.prepared_by = convert->name();
    else
      home.stored = home.desc.dtype;
  }
}

Plan make_plan(const Graph& graph, Placement placement, PlanShape shape, const Registry& registry, const KernelPolicy& policy) {
  PlanBuilder b(graph, std::move(placement), shape, registry, policy);
  while (const auto index = b.next_node()) {
    const Node& node = graph.nodes()[*index];
    const DeviceId device = choose_device(b, *index);
    const KernelPolicy here = policy_on(policy, device);
    check_pins(node, device, policy);
    const KernelChoice choice = choose_kernel(graph, node, device, registry, policy, b.plan().placement);
    if (!choice.kernel) no_kernel(graph, node, device, registry, policy, b.plan().placement);
    const bool coded = reads_formats(node.op) && choice.activation != DType::f32;
    const bool ready = coded && b.find(node.in[0], device, choice.activation);
    for (const Value v : node.in)
      if (!(ready && v == node.in[0]) && !b.find(v, device)) b.copy(v, b.place(b.places_of(v)[0]).device, device);
    if (coded && !ready) {
      const Problem p = problem(Convert{.to = choice.activation}, {graph[node.in[0]].desc});
      const Kernel* convert = registry.best(p, here, "convert");
      if (!convert)
        throw Error(ErrorKind::usage, fmt::format("no kernel converts f32 to {} on {}", name_of(choice.activation), device), node.name,
                    "use --activations f32");
      b.convert(node.in[0], choice.activation, device, *convert);
    }
    const Kernel* kernel = choice.kernel;
    auto writes = format_of_readers(graph, node, device, registry, policy, b.plan().placement);
    if (writes && policy.fuses("format")) {
      auto p = *problem_of(graph, node, choice.activation, b.plan().placement);
      p.out[0].dtype = *writes;
      const Kernel* direct = registry.best(p, here, node.name);
      if (direct && backend_rank(*direct, here) <= backend_rank(*kernel, here))
        kernel = direct;
      else
        writes = std::nullopt;
    } else {
      writes = std::nullopt;
    }
    b.run(*index, device, *kernel, choice.activation, writes);
  }
  return b.finish();
}

DeviceId Plan::device_of(const Node& node, const Graph& graph) const {
  for (const auto& step : steps)
    if (const auto* run = std::get_if<RunStep>(&step); run && &graph.nodes()[run->node] == &node) return run->device;
  throw Error(ErrorKind::runtime, fmt::format("the plan does not run {}", node.name));
}

int64_t Plan::boundary_bytes() const {
  int64_t sum = 0;
  for (const auto& step : steps)
    if (const auto* copy = std::get_if<CopyStep>(&step)) sum += copy->bytes;
  return sum;
}

int64_t Plan::boundary_copies() const {
  return std::count_if(steps.begin(), steps.end(), [](const Step& s) { return std::holds_alternative<CopyStep>(s); });
}

void check_fits(const std::vector<const Plan*>& plans, const std::vector<const Device*>& devices) {
  std::string refused;
  for (const Device* device : devices) {
    DeviceMemory need;
    for (const Plan* plan : plans) {
      const auto it = plan->memory.find(device->id());
      if (it == plan->memory.end()) continue;
      need.weights = std::max(need.weights, it->second.weights);
      need.state = std::max(need.state, it->second.state);
      need.arena = std::max(need.arena, it->second.arena);
    }
    if (device->limit() == 0 || need.total() <= device->limit()) continue;
    refused += fmt::format("{}{} needs {} bytes ({} weights, {} KV state, {} compute) and has {}: {} too many", refused.empty() ? "" : "; ",
                           device->id(), need.total(), need.weights, need.state, need.arena, device->limit(), need.total() - device->limit());
  }
  if (!refused.empty())
    throw Error(ErrorKind::memory, "the plan does not fit", refused, "place fewer layers there (-ngl, -ot, --rules), or lower -c or -ub");
}

std::string explain(const Graph& graph, const Node& node, const DeviceId& device, const Registry& registry, const KernelPolicy& asked,
                    const Placement& placement) {
  const KernelPolicy policy = policy_on(asked, device);
  const KernelChoice chosen = choose_kernel(graph, node, device, registry, asked, placement);
  const auto plain = problem_of(graph, node, DType::f32, placement);
  std::string text = fmt::format("{}  {}\n", node.name, to_text(*plain));
  for (const auto& k : registry.all()) {
    if (k.op != name_of(node.op)) continue;
    std::string verdict;
    if (&k == chosen.kernel) {
      verdict = chosen.activation == DType::f32 || !reads_formats(node.op) ? "chosen" : fmt::format("chosen, reads {}", name_of(chosen.activation));
    } else {
      std::set<std::string> reasons;
      bool fits = false;
      for (const DType activation : reads_formats(node.op) ? policy.activations : std::vector<DType>{DType::f32}) {
        const auto p = problem_of(graph, node, activation, placement);
        std::string why = p ? registry.why_not(k, *p, policy, node.name) : fmt::format("rows do not fill blocks of {}", name_of(activation));
        if (why.empty() && reads_formats(node.op) && too_coarse(*p, policy))
          why = "weights of floats would lose precision: --activations bf16 allows it";
        fits |= why.empty();
        if (!why.empty()) reasons.insert(why);
      }
      const bool offered = std::find(policy.backends.begin(), policy.backends.end(), k.backend) != policy.backends.end();
      verdict = !runs_on(k.backend, device) ? fmt::format("runs on {}, this node on {}", runs_on(k.backend, kHost) ? "the host" : k.backend, device)
                : !fits                     ? fmt::format("no: {}", fmt::join(reasons, "; "))
                : !offered                  ? fmt::format("fits, but --backend is {}", fmt::join(policy.backends, ","))
                : !chosen.kernel            ? "fits"
                : k.backend != chosen.kernel->backend ? fmt::format("fits, but {} comes first in --backend", chosen.kernel->backend)
                                                      : fmt::format("fits, preference {} is below {}", k.preference, chosen.kernel->preference);
    }
    text += fmt::format("  {} {:<44} {}\n", &k == chosen.kernel ? ">" : " ", k.name(), verdict);
  }
  return text;
}

}  // namespace kerf
