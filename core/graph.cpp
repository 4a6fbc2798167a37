#include "core/graph.h"

#include <fmt/format.h>

#include <algorithm>

#include "core/error.h"

namespace kerf {
namespace {

[[noreturn]] void mismatch(const std::string& what) { throw Error(ErrorKind::runtime, what); }

void expect(bool ok, std::string_view what, const std::vector<TensorDesc>& in) {
  if (ok) return;
  std::string shapes;
  for (const auto& d : in) shapes += (shapes.empty() ? "" : ", ") + to_text(d);
  mismatch(fmt::format("expected {}, got ({})", what, shapes));
}

bool is_vector(const TensorDesc& d) { return d.rows() == 1; }
bool is_f32(const TensorDesc& d) { return d.dtype == DType::f32; }
bool is_indices(const TensorDesc& d) { return d.dtype == DType::i32 && is_vector(d); }

/// One overload per op: a new op does not compile until its rule exists.
struct Infer {
  std::vector<TensorDesc> in;
  using Out = std::vector<TensorDesc>;
  void count(size_t low, size_t high) const {
    if (in.size() < low || in.size() > high) mismatch(fmt::format("expected {}..{} inputs, got {}", low, high, in.size()));
  }

  Out operator()(const Rows&) const {
    count(2, 2);
    expect(is_indices(in[1]), "table [V,E] and ids [T] i32", in);
    return {matrix(DType::f32, in[1].cols(), in[0].cols())};
  }
  Out operator()(const MatMul&) const {
    count(2, 2);
    expect(in[0].cols() == in[1].cols(), "x [T,K] and w [N,K] with one K", in);
    return {matrix(DType::f32, in[0].rows(), in[1].rows())};
  }
  Out operator()(const Add&) const {
    count(2, 2);
    expect(is_f32(in[0]) && is_f32(in[1]) && in[0].cols() == in[1].cols() && (in[1].rows() == in[0].rows() || is_vector(in[1])),
           "a [T,E] f32 and b [T,E] or [E] f32", in);
    return {in[0]};
  }
  Out operator()(const RmsNorm&) const {
    count(2, 2);
    expect(is_f32(in[0]) && is_f32(in[1]) && is_vector(in[1]) && in[0].cols() % in[1].cols() == 0, "x [T,G*E] f32 and w [E] f32", in);
    return {in[0]};
  }
  Out operator()(const RopeTable& r) const {
    count(1, 2);
    expect(is_indices(in[0]) && r.dims > 0 && r.dims % 2 == 0 && (in.size() < 2 || (is_f32(in[1]) && in[1].size() == r.dims / 2)),
           "positions [T] i32 and at most factors [dims/2] f32", in);
    return {matrix(DType::f32, in[0].cols(), r.dims)};
  }
  Out operator()(const Rope& r) const {
    count(2, 2);
    expect(is_f32(in[0]) && r.head_dim > 0 && in[0].cols() % r.head_dim == 0 && in[1].rows() == in[0].rows() && in[1].cols() <= r.head_dim,
           fmt::format("x [T,H*{0}] f32 and table [T,dims<={0}] f32", r.head_dim), in);
    return {in[0]};
  }
  Out operator()(const KvWrite&) const {
    count(3, 3);
    const auto& s = in[0].shape;
    expect(s[0] == 1 && in[1].cols() == s[1] * s[3] && is_f32(in[1]) && is_indices(in[2]) && in[2].cols() == in[1].rows(),
           "state [Hkv,n_ctx,hd], x [T,Hkv*hd] f32, positions [T] i32", in);
    return {in[0]};
  }
  Out operator()(const Attention& a) const {
    count(4, 4);
    const auto &k = in[1].shape, &v = in[2].shape;
    expect(is_f32(in[0]) && k == v && k[1] > 0 && a.n_head % k[1] == 0 && in[0].cols() == a.n_head * k[3] && is_indices(in[3]) &&
               in[3].cols() == in[0].rows(),
           fmt::format("q [T,{}*hd] f32, k and v [Hkv,n_ctx,hd], positions [T] i32", a.n_head), in);
    return {in[0]};
  }
  Out operator()(const SwiGlu&) const {
    count(2, 2);
    expect(is_f32(in[0]) && in[0] == in[1], "gate and up [T,F] f32", in);
    return {in[0]};
  }
  Out operator()(const MatMuls& m) const {
    const auto n = static_cast<size_t>(m.count);
    count(1 + n + (m.add ? n : 0), 1 + n + (m.add ? n : 0));
    Out out;
    for (size_t i = 1; i <= n; ++i) {
      expect(in[0].cols() == in[i].cols(), "x [T,K] and w_i [N_i,K] with one K", in);
      out.push_back(matrix(DType::f32, in[0].rows(), in[i].rows()));
      if (!m.add) continue;
      const auto& a = in[n + i];
      expect(is_f32(a) && a.cols() == in[i].rows() && (is_vector(a) || a.rows() == in[0].rows()), "addends [N_i] or [T,N_i] f32", in);
    }
    return out;
  }
  Out operator()(const MatMulSwiGlu&) const {
    count(3, 3);
    expect(in[0].cols() == in[1].cols() && in[1].cols() == in[2].cols() && in[1].rows() == in[2].rows(), "x [T,K], gate and up [F,K]", in);
    return {matrix(DType::f32, in[0].rows(), in[1].rows())};
  }
  Out operator()(const RopeCache& r) const {
    count(7, 7);
    const Out q = Infer{{in[0], in[3]}}(r.rope), k = Infer{{in[1], in[3]}}(r.rope);
    const Out keys = Infer{{in[4], k[0], in[6]}}(KvWrite{}), values = Infer{{in[5], in[2], in[6]}}(KvWrite{});
    return {q[0], keys[0], values[0]};
  }
  Out operator()(const Columns& c) const {
    count(1, 1);
    expect(is_f32(in[0]) && c.first >= 0 && c.count > 0 && c.first + c.count <= c.group && in[0].cols() % c.group == 0,
           fmt::format("x [T,G*{}] f32 and columns within a group", c.group), in);
    return {matrix(DType::f32, in[0].rows(), in[0].cols() / c.group * c.count)};
  }
  Out operator()(const SigmoidGate&) const {
    count(2, 2);
    expect(is_f32(in[0]) && is_f32(in[1]) && in[0].rows() == in[1].rows() && (in[1].cols() == in[0].cols() || in[1].cols() == 1),
           "x [T,E] f32 and gate [T,E] or [T,1] f32", in);
    return {in[0]};
  }
  Out operator()(const Router& r) const {
    count(1, 1);
    expect(is_f32(in[0]) && r.used >= 1 && r.used <= in[0].cols(), fmt::format("logits [T,X] f32 with X >= {}", r.used), in);
    return {matrix(DType::i32, in[0].rows(), r.used), matrix(DType::f32, in[0].rows(), r.used)};
  }
  /// Tokens and slots of ids [T,U]; x has a row for each of either.
  void experts(const TensorDesc& w, const TensorDesc& ids, bool by_slot) const {
    const int64_t T = ids.rows(), slots = ids.size();
    expect(ids.dtype == DType::i32 && w.shape[0] == 1 && w.shape[1] >= ids.cols() && in[0].cols() == w.cols() &&
               (in[0].rows() == slots || (!by_slot && in[0].rows() == T)),
           by_slot ? "x [T*U,K], w [X,N,K] and ids [T,U] i32 with one K" : "x [T,K] or [T*U,K], w [X,N,K] and ids [T,U] i32 with one K", in);
  }
  Out operator()(const ExpertMatMul&) const {
    count(3, 3);
    experts(in[1], in[2], false);
    return {matrix(DType::f32, in[2].size(), in[1].shape[2])};
  }
  Out operator()(const ExpertSum&) const {
    count(2, 2);
    expect(is_f32(in[0]) && is_f32(in[1]) && in[0].rows() == in[1].size(), "y [T*U,E] f32 and weights [T,U] f32", in);
    return {matrix(DType::f32, in[1].rows(), in[0].cols())};
  }
  Out operator()(const L2Norm& n) const {
    count(1, 1);
    expect(is_f32(in[0]) && n.group > 0 && in[0].cols() % n.group == 0, fmt::format("x [T,G*{}] f32", n.group), in);
    return {in[0]};
  }
  Out operator()(const CausalConv& c) const {
    count(4, 4);
    const int64_t T = in[0].rows(), C = in[0].cols();
    expect(is_f32(in[0]) && is_f32(in[1]) && is_f32(in[2]) && in[1].rows() == C && in[1].cols() >= 2 && in[2].rows() == in[1].cols() - 1 &&
               in[2].cols() == C && is_indices(in[3]) && in[3].cols() == T && c.keys > 0 && 2 * c.keys < C,
           fmt::format("x [T,C>2*{}] f32, w [C,J] f32, state [J-1,C] f32, positions [T] i32", c.keys), in);
    return {matrix(DType::f32, T, c.keys), matrix(DType::f32, T, c.keys), matrix(DType::f32, T, C - 2 * c.keys), in[2]};
  }
  Out operator()(const DeltaGates&) const {
    count(4, 4);
    expect(is_f32(in[0]) && is_f32(in[1]) && is_f32(in[2]) && in[0] == in[3] && is_vector(in[1]) && in[1] == in[2] && in[1].cols() == in[0].cols(),
           "alpha [T,Hv], dt_bias [Hv], a [Hv], beta [T,Hv], all f32", in);
    return {in[0], in[0]};
  }
  Out operator()(const GatedDeltaRule& d) const {
    count(7, 7);
    const auto& state = in[5].shape;
    const int64_t T = in[0].rows(), heads = state[1];
    expect(std::all_of(in.begin(), in.end() - 1, is_f32) && in[0] == in[1] && d.n_head_k > 0 && in[0].cols() == d.n_head_k * state[3] &&
               heads % d.n_head_k == 0 && in[2].rows() == T && in[2].cols() == heads * state[2] && in[3] == in[4] && in[3].rows() == T &&
               in[3].cols() == heads && state[0] == 1 && is_indices(in[6]) && in[6].cols() == T,
           fmt::format("q and k [T,{}*dk], v [T,Hv*dv], g and b [T,Hv], state [Hv,dv,dk], all f32, positions [T] i32", d.n_head_k), in);
    return {in[2], in[5]};
  }
  Out operator()(const GatedRmsNorm& n) const {
    count(3, 3);
    expect(in[2] == in[0], "x and z of one shape", in);
    return Infer{{in[0], in[1]}}(RmsNorm{n.eps});
  }
  Out operator()(const Argmax&) const {
    count(1, 1);
    expect(is_f32(in[0]) && in[0].cols() > 0 && in[0].cols() < (int64_t{1} << 31), "logits [T,V] f32 with 0 < V < 2^31", in);
    return {matrix(DType::i32, in[0].rows(), 1)};
  }
  Out operator()(const ExpertSwiGlu&) const {
    count(4, 4);
    expect(in[1].shape == in[2].shape, "gate and up [X,F,K]", in);
    experts(in[1], in[3], false);
    return {matrix(DType::f32, in[3].size(), in[1].shape[2])};
  }
  Out operator()(const ExpertMatMulSum&) const {
    count(4, 4);
    experts(in[1], in[2], true);
    expect(is_f32(in[3]) && in[3].shape == in[2].shape, "weights [T,U] f32 beside ids [T,U]", in);
    return {matrix(DType::f32, in[2].rows(), in[1].shape[2])};
  }
  Out operator()(const Convert& c) const {
    count(1, 1);
    expect(in[0].cols() % info(c.to).block_values == 0, fmt::format("columns in blocks of {}", info(c.to).block_values), in);
    return {{c.to, in[0].shape}};
  }
};

/// "blk.0.attn_q.weight" -> "blk.0.attn_q", "blk.0.attn_q.bias" -> "blk.0.attn_q.add_bias".
std::string named_after(const std::string& weight) {
  constexpr std::string_view kWeight = ".weight", kBias = ".bias";
  if (weight.ends_with(kWeight)) return weight.substr(0, weight.size() - kWeight.size());
  if (weight.ends_with(kBias)) return weight.substr(0, weight.size() - kBias.size()) + ".add_bias";
  return weight;
}

}  // namespace

std::string_view name_of(Kind kind) {
  switch (kind) {
    case Kind::computed:
      return "computed";
    case Kind::weight:
      return "weight";
    case Kind::input:
      return "input";
    case Kind::state:
      return "state";
  }
  return "?";
}

std::optional<size_t> alias_of(const Op& op, size_t i) {
  if (std::holds_alternative<KvWrite>(op)) return 0;
  if (std::holds_alternative<RopeCache>(op) && i > 0) return i + 3;
  if (std::holds_alternative<CausalConv>(op) && i == 3) return 2;
  if (std::holds_alternative<GatedDeltaRule>(op) && i == 1) return 5;
  return std::nullopt;
}

std::optional<ExpertInputs> expert_inputs(const Op& op) {
  if (std::holds_alternative<ExpertMatMul>(op) || std::holds_alternative<ExpertMatMulSum>(op)) return ExpertInputs{};
  if (std::holds_alternative<ExpertSwiGlu>(op)) return ExpertInputs{.count = 2, .ids = 3};
  return std::nullopt;
}

std::vector<TensorDesc> infer(const Op& op, const std::vector<TensorDesc>& in) { return std::visit(Infer{in}, op); }

Value Graph::add_value(ValueInfo value) {
  const auto id = static_cast<uint32_t>(values_.size());
  KERF_CHECK(by_name_.emplace(value.name, id).second, "two values named " + value.name);
  values_.push_back(std::move(value));
  return {id};
}

Value Graph::leaf(Kind kind, std::string name, TensorDesc desc, std::string source) {
  if (source.empty()) source = name;
  return add_value({.name = std::move(name), .desc = desc, .kind = kind, .source = std::move(source)});
}

std::vector<Value> Graph::append_named(Op op, std::vector<Value> in, std::string node, const std::vector<std::string>& names) {
  std::vector<TensorDesc> descs;
  descs.reserve(in.size());
  for (const Value v : in) descs.push_back(values_[v.id].desc);
  try {
    descs = infer(op, descs);
  } catch (const Error& e) {
    throw Error(ErrorKind::runtime, fmt::format("{} ({}): {}", node, name_of(op), e.message));
  }
  KERF_CHECK(descs.size() == names.size(), fmt::format("{} has {} outputs, {} names are given", node, descs.size(), names.size()));
  std::vector<Value> out;
  for (size_t i = 0; i < descs.size(); ++i) {
    ValueInfo value{.name = names[i], .desc = descs[i], .kind = Kind::computed};
    if (const auto from = alias_of(op, i)) value.alias_of = storage(in[*from]);
    out.push_back(add_value(std::move(value)));
  }
  nodes_.push_back({.name = std::move(node), .op = op, .in = std::move(in), .out = out});
  return out;
}

std::string Graph::node_name(const Op& op, const std::vector<Value>& in, std::string_view name, std::string_view first_output) const {
  std::string node = prefix_ + std::string(name.empty() ? name_of(op) : name);
  if (name.empty())
    for (const Value v : in)
      if (values_[v.id].kind == Kind::weight) node = named_after(values_[v.id].name);
  const auto taken = [&](const std::string& n) { return by_name_.contains(n + std::string(first_output)); };
  if (!taken(node)) return node;
  int n = 2;  // the second use of a weight or op in one scope: .2, .3 ...
  while (taken(fmt::format("{}.{}", node, n))) ++n;
  return fmt::format("{}.{}", node, n);
}

Value Graph::append(Op op, std::vector<Value> in, std::string_view name) {
  std::string node = node_name(op, in, name, "");
  const std::string value = node;
  return append_named(op, std::move(in), std::move(node), {value})[0];
}

std::vector<Value> Graph::append(Op op, std::vector<Value> in, std::string_view name, std::initializer_list<std::string_view> outputs) {
  std::vector<std::string> suffixes, names;
  for (const auto output : outputs) suffixes.push_back("." + std::string(output));
  std::string node = node_name(op, in, name, suffixes.front());
  for (const auto& suffix : suffixes) names.push_back(node + suffix);
  return append_named(op, std::move(in), std::move(node), names);
}

std::optional<Value> Graph::lookup(std::string_view name) const {
  const auto it = by_name_.find(std::string(name));
  if (it == by_name_.end()) return std::nullopt;
  return Value{it->second};
}

Value Graph::find(std::string_view name) const {
  const auto v = lookup(name);
  if (!v) throw Error(ErrorKind::runtime, fmt::format("the graph has no value named \"{}\"", name));
  return *v;
}

}  // namespace kerf
