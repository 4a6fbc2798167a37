#include "core/rewrite.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <map>
#include <optional>

#include "core/plan_builder.h"

namespace kerf {
namespace {

constexpr std::array kRewrites{
    RewriteInfo{"swiglu", "gate and up projections and silu(gate) * up: matmul, matmul, swiglu -> matmul_swiglu"},
    RewriteInfo{"add", "a bias or the residual stream added where the product is: matmul, add -> matmuls"},
    RewriteInfo{"qkv", "projections of the same activations side by side: matmul, matmul, ... -> matmuls"},
    RewriteInfo{"expert_swiglu", "the same for experts: expert_matmul, expert_matmul, swiglu -> expert_swiglu"},
    RewriteInfo{"expert_sum", "experts' outputs added where the products are: expert_matmul, expert_sum -> expert_matmul_sum"},
    RewriteInfo{"rope_cache", "rotation of q and k and both cache writes: rope, rope, kv_write, kv_write -> rope_cache"},
};

/// What the patterns ask about a graph.
struct Uses {
  explicit Uses(const Graph& graph) : g(graph), readers(graph.values().size()), writer(graph.values().size()) {
    for (size_t n = 0; n < g.nodes().size(); ++n) {
      for (const Value v : g.nodes()[n].in) readers[v.id].push_back(n);
      for (const Value v : g.nodes()[n].out) writer[v.id] = n;
    }
    for (const Value v : g.outputs()) readers[v.id].push_back(g.nodes().size());  // the caller reads it
  }
  const Graph& g;
  std::vector<std::vector<size_t>> readers;
  std::vector<std::optional<size_t>> writer;

  /// The node that computes v, if it is an `O` and v is read once.
  template <class O>
  std::optional<size_t> only(Value v) const {
    const auto n = writer[v.id];
    if (!n || readers[v.id].size() != 1 || !std::holds_alternative<O>(g.nodes()[*n].op)) return std::nullopt;
    return n;
  }
  const Node& node(size_t n) const { return g.nodes()[n]; }
};

/// The last part of a name, with the one before it if it is a number ("blk.0.add.2": the second add).
std::string last_part(const std::string& name) {
  size_t dot = name.rfind('.');
  if (dot != std::string::npos && dot > 0 && name.find_first_not_of("0123456789", dot + 1) == std::string::npos) dot = name.rfind('.', dot - 1);
  return name.substr(dot + 1);
}

/// "blk.0.attn_q+attn_k+attn_v"
std::string joined_name(const Graph& g, const std::vector<size_t>& parts) {
  std::string name;
  for (const size_t n : parts) name += name.empty() ? g.nodes()[n].name : "+" + last_part(g.nodes()[n].name);
  return name;
}

/// Where a candidate's node goes: at the place of its first or of its last part.
struct Found {
  Candidate candidate;
  bool at_first = false;
};

std::optional<Found> find_swiglu(const Uses& u, size_t n) {
  const Node& act = u.node(n);
  if (!std::holds_alternative<SwiGlu>(act.op)) return std::nullopt;
  const auto gate = u.only<MatMul>(act.in[0]), up = u.only<MatMul>(act.in[1]);
  if (!gate || !up || u.node(*gate).in[0] != u.node(*up).in[0]) return std::nullopt;
  std::vector<size_t> parts{*gate, *up, n};
  std::sort(parts.begin(), parts.end());
  Node node{.name = joined_name(u.g, {*gate, *up, n}),
            .op = MatMulSwiGlu{},
            .in = {u.node(*gate).in[0], u.node(*gate).in[1], u.node(*up).in[1]},
            .out = act.out};
  return Found{{u.g, std::move(parts), std::move(node)}};
}

std::optional<Found> find_add(const Uses& u, size_t n) {
  const Node& add = u.node(n);
  if (!std::holds_alternative<Add>(add.op)) return std::nullopt;
  for (const size_t side : {size_t{1}, size_t{0}}) {
    const auto product = u.only<MatMul>(add.in[side]);
    if (!product) continue;
    const Value other = add.in[1 - side];
    if (u.g[other].desc.rows() > 1 && u.g[other].desc.rows() != u.g[add.out[0]].desc.rows()) continue;
    Node node{.name = joined_name(u.g, {*product, n}),
              .op = MatMuls{.count = 1, .add = true},
              .in = {u.node(*product).in[0], u.node(*product).in[1], other},
              .out = add.out};
    return Found{{u.g, {*product, n}, std::move(node)}};
  }
  return std::nullopt;
}

/// A product alone, or with an addend that exists before all nodes.
bool is_projection(const Uses& u, size_t n) {
  const Node& node = u.node(n);
  if (std::holds_alternative<MatMul>(node.op)) return true;
  const auto* m = std::get_if<MatMuls>(&node.op);
  return m && m->count == 1 && m->add && u.g[node.in[2]].kind == Kind::weight;
}

std::optional<Found> find_qkv(const Uses& u, size_t first) {
  if (!is_projection(u, first)) return std::nullopt;
  const Node& head = u.node(first);
  std::vector<size_t> parts;
  for (const size_t n : u.readers[head.in[0].id])
    if (n < u.g.nodes().size() && is_projection(u, n) && u.node(n).in[0] == head.in[0] && u.node(n).op == head.op) parts.push_back(n);
  if (parts.size() < 2 || parts[0] != first) return std::nullopt;
  const bool add = std::holds_alternative<MatMuls>(head.op);
  Node node{.name = joined_name(u.g, parts), .op = MatMuls{.count = static_cast<int>(parts.size()), .add = add}, .in = {head.in[0]}};
  for (const size_t n : parts) node.in.push_back(u.node(n).in[1]), node.out.push_back(u.node(n).out[0]);
  if (add)
    for (const size_t n : parts) node.in.push_back(u.node(n).in[2]);
  return Found{{u.g, std::move(parts), std::move(node)}, true};
}

std::optional<Found> find_expert_swiglu(const Uses& u, size_t n) {
  const Node& act = u.node(n);
  if (!std::holds_alternative<SwiGlu>(act.op)) return std::nullopt;
  const auto gate = u.only<ExpertMatMul>(act.in[0]), up = u.only<ExpertMatMul>(act.in[1]);
  if (!gate || !up || u.node(*gate).in[0] != u.node(*up).in[0] || u.node(*gate).in[2] != u.node(*up).in[2]) return std::nullopt;
  std::vector<size_t> parts{*gate, *up, n};
  std::sort(parts.begin(), parts.end());
  Node node{.name = joined_name(u.g, {*gate, *up, n}),
            .op = ExpertSwiGlu{},
            .in = {u.node(*gate).in[0], u.node(*gate).in[1], u.node(*up).in[1], u.node(*gate).in[2]},
            .out = act.out};
  return Found{{u.g, std::move(parts), std::move(node)}};
}

std::optional<Found> find_expert_sum(const Uses& u, size_t n) {
  const Node& sum = u.node(n);
  if (!std::holds_alternative<ExpertSum>(sum.op)) return std::nullopt;
  const auto product = u.only<ExpertMatMul>(sum.in[0]);
  if (!product || u.g[u.node(*product).in[0]].desc.rows() != u.g[sum.in[0]].desc.rows()) return std::nullopt;
  Node node{.name = joined_name(u.g, {*product, n}), .op = ExpertMatMulSum{}, .in = u.node(*product).in, .out = sum.out};
  node.in.push_back(sum.in[1]);
  return Found{{u.g, {*product, n}, std::move(node)}};
}

std::optional<Found> find_rope_cache(const Uses& u, size_t n) {
  const Node& attention = u.node(n);
  if (!std::holds_alternative<Attention>(attention.op)) return std::nullopt;
  const auto q = u.only<Rope>(attention.in[0]), keys = u.only<KvWrite>(attention.in[1]), values = u.only<KvWrite>(attention.in[2]);
  if (!q || !keys || !values) return std::nullopt;
  const auto k = u.only<Rope>(u.node(*keys).in[1]);
  if (!k || !(u.node(*k).op == u.node(*q).op) || u.node(*k).in[1] != u.node(*q).in[1] || u.node(*keys).in[2] != u.node(*values).in[2])
    return std::nullopt;
  std::vector<size_t> parts{*q, *k, *keys, *values};
  std::sort(parts.begin(), parts.end());
  Node node{.name = joined_name(u.g, {*q, *k, *keys, *values}),
            .op = RopeCache{std::get<Rope>(u.node(*q).op)},
            .in = {u.node(*q).in[0], u.node(*k).in[0], u.node(*values).in[1], u.node(*q).in[1], u.node(*keys).in[0], u.node(*values).in[0],
                   u.node(*keys).in[2]},
            .out = {u.node(*q).out[0], u.node(*keys).out[0], u.node(*values).out[0]}};
  return Found{{u.g, std::move(parts), std::move(node)}};
}

/// One rewrite over the whole graph.
Graph apply(const Graph& g, std::optional<Found> (*find)(const Uses&, size_t), const std::function<bool(const Candidate&)>& wanted) {
  const Uses uses(g);
  std::map<size_t, Node> fused;  // by the place of the part that it replaces
  std::vector<bool> gone(g.nodes().size(), false);
  for (size_t n = 0; n < g.nodes().size(); ++n) {
    auto found = find(uses, n);
    if (!found) continue;
    const auto& parts = found->candidate.parts;
    if (std::any_of(parts.begin(), parts.end(), [&](size_t p) { return gone[p]; }) || !wanted(found->candidate)) continue;
    for (const size_t p : parts) gone[p] = true;
    fused.emplace(found->at_first ? parts.front() : parts.back(), std::move(found->candidate.node));
  }
  Graph out;
  std::vector<Value> at(g.values().size());
  for (uint32_t id = 0; id < at.size(); ++id) {
    const auto& v = g.values()[id];
    if (v.kind != Kind::computed) at[id] = out.leaf(v.kind, v.name, v.desc, v.source);
  }
  const auto append = [&](const Node& node) {
    std::vector<Value> in;
    std::vector<std::string> names;
    for (const Value v : node.in) in.push_back(at[v.id]);
    for (const Value v : node.out) names.push_back(g[v].name);
    const auto results = out.append_named(node.op, std::move(in), node.name, names);
    for (size_t i = 0; i < results.size(); ++i) at[node.out[i].id] = results[i];
  };
  for (size_t n = 0; n < g.nodes().size(); ++n) {
    const auto here = fused.find(n);
    if (here != fused.end())
      append(here->second);
    else if (!gone[n])
      append(g.nodes()[n]);
  }
  for (const Value v : g.outputs()) out.output(at[v.id]);
  return out;
}

}  // namespace

std::span<const RewriteInfo> rewrites() { return kRewrites; }

Graph fuse(const Graph& graph, const KernelPolicy& policy, const std::function<bool(const Candidate&)>& wanted) {
  constexpr std::array kFind{find_swiglu, find_add, find_qkv, find_expert_swiglu, find_expert_sum, find_rope_cache};
  static_assert(kFind.size() == kRewrites.size());
  Graph g = graph;
  for (size_t i = 0; i < kRewrites.size(); ++i)
    if (policy.fuses(kRewrites[i].name)) g = apply(g, kFind[i], wanted);
  return g;
}

bool fits(const Candidate& c, const Registry& registry, const KernelPolicy& asked, const Placement& placement) {
  const Graph& g = c.graph;
  std::optional<DeviceId> device;
  for (const Value v : c.node.in) {
    const auto& storage = g[g.storage(v)];
    if (storage.kind != Kind::weight && storage.kind != Kind::state) continue;
    const DeviceId& home = placement.of(storage.name).device;
    if (device && *device != home) return false;
    device = home;
  }
  const DeviceId there = device.value_or(kHost);
  const KernelPolicy policy = policy_on(asked, there);
  const KernelChoice whole = choose_kernel(g, c.node, there, registry, asked, placement);
  if (!whole.kernel) return false;
  return std::all_of(c.parts.begin(), c.parts.end(), [&](size_t n) {
    const Node& part = g.nodes()[n];
    for (const auto& pin : policy.pins)
      if (pin.op == part.name || pin.op == name_of(part.op)) return false;
    const KernelChoice own = choose_kernel(g, part, there, registry, asked, placement);
    if (!own.kernel) return true;
    const bool as_fine = !reads_formats(part.op) || whole.kernel->unit <= own.kernel->unit;
    // Products of codes are several times as fast as those of floats: not to be given up for one barrier less.
    if (whole.activation == DType::f32 && own.activation != DType::f32) return false;
    return as_fine && backend_rank(*whole.kernel, policy) <= backend_rank(*own.kernel, policy);
  });
}

}  // namespace kerf
