#include "core/kernel.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "core/error.h"
#include "core/graph.h"

namespace kerf {
namespace {

struct OpText {
  std::string out;
  template <class T>
  void field(std::string_view name, const T& value, const T& standard) {
    if (!(value == standard)) out += fmt::format("{}{}={}", out.empty() ? "" : " ", name, value);
  }
  void operator()(const Rows&) {}
  void operator()(const MatMul&) {}
  void operator()(const Add&) {}
  void operator()(const RmsNorm& o) { field("eps", o.eps, 0.f); }
  void operator()(const RopeTable& o) {
    const RopeTable s;
    field("dims", o.dims, s.dims);
    field("base", o.base, 0.f);
    field("freq_scale", o.freq_scale, s.freq_scale);
    field("yarn_ext_factor", o.yarn_ext_factor, s.yarn_ext_factor);
    field("magnitude", o.magnitude, s.magnitude);
    if (o.yarn_ext_factor != 0) {
      field("beta_fast", o.beta_fast, -1.f);
      field("beta_slow", o.beta_slow, -1.f);
      field("original_context", o.original_context, -1);
    }
  }
  void operator()(const Rope& o) {
    field("head_dim", o.head_dim, 0);
    field("pairing", std::string(o.pairing == RopePairing::norm ? "norm" : "neox"), std::string());
  }
  void operator()(const KvWrite&) {}
  void operator()(const Attention& o) {
    field("n_head", o.n_head, 0);
    field("scale", o.scale, 0.f);
    field("window", o.window, 0);
  }
  void operator()(const SwiGlu&) {}
  void operator()(const Columns& o) {
    field("group", o.group, int64_t{0});
    field("first", o.first, int64_t{-1});
    field("count", o.count, int64_t{0});
  }
  void operator()(const SigmoidGate&) {}
  void operator()(const Router& o) {
    field("used", o.used, 0);
    field("renormalize", o.renormalize, false);
  }
  void operator()(const ExpertMatMul&) {}
  void operator()(const ExpertSum&) {}
  void operator()(const L2Norm& o) {
    field("group", o.group, 0);
    field("eps", o.eps, 0.f);
  }
  void operator()(const CausalConv& o) { field("keys", o.keys, int64_t{0}); }
  void operator()(const DeltaGates&) {}
  void operator()(const GatedDeltaRule& o) {
    field("n_head_k", o.n_head_k, 0);
    field("order", std::string(o.order == HeadOrder::grouped ? "grouped" : "tiled"), std::string());
    field("scale", o.scale, 0.f);
  }
  void operator()(const GatedRmsNorm& o) { field("eps", o.eps, 0.f); }
  void operator()(const Argmax&) {}
  void operator()(const ExpertSwiGlu&) {}
  void operator()(const ExpertMatMulSum&) {}
  void operator()(const MatMuls& o) {
    field("count", o.count, 0);
    field("add", o.add, false);
  }
  void operator()(const MatMulSwiGlu&) {}
  void operator()(const RopeCache& o) { (*this)(o.rope); }
  void operator()(const Convert& o) { field("to", name_of(o.to), std::string_view()); }
};

/// A pin for a node goes before pins for its op.
bool applies(const KernelPolicy::Pin& pin, const KernelPolicy& policy, std::string_view op, std::string_view node) {
  if (pin.op == node) return true;
  return pin.op == op &&
         std::none_of(policy.pins.begin(), policy.pins.end(), [&](const KernelPolicy::Pin& other) { return other.op == node && node != op; });
}

}  // namespace

std::string to_text(const TensorDesc& d) {
  std::string shape;
  bool started = false;
  for (size_t i = 0; i < 4; ++i) {
    started |= d.shape[i] != 1 || i == 3;
    if (started) shape += (shape.empty() ? "" : ", ") + std::to_string(d.shape[i]);
  }
  return fmt::format("{} [{}]", name_of(d.dtype), shape);
}

std::string to_text(const Op& op) {
  OpText t;
  std::visit(t, op);
  return t.out.empty() ? std::string(name_of(op)) : fmt::format("{}({})", name_of(op), t.out);
}

Problem problem(Op op, std::vector<TensorDesc> in) {
  auto out = infer(op, in);
  return {op, std::move(in), std::move(out)};
}

DType own_format(const Problem& p, size_t i) {
  if (const auto from = alias_of(p.op, i)) return p.in[*from].dtype;
  if (const auto* convert = std::get_if<Convert>(&p.op)) return convert->to;
  if ((std::holds_alternative<Router>(p.op) && i == 0) || std::holds_alternative<Argmax>(p.op)) return DType::i32;  // ids
  return DType::f32;
}

std::string to_text(const Problem& p) {
  std::string in, out;
  for (const auto& d : p.in) in += (in.empty() ? "" : ", ") + to_text(d);
  for (const auto& d : p.out) out += (out.empty() ? "" : ", ") + to_text(d);
  return fmt::format("{}: {} -> {}", to_text(p.op), in, out);
}

std::string Kernel::name() const { return variant.empty() ? fmt::format("{}/{}", backend, op) : fmt::format("{}/{}.{}", backend, op, variant); }

bool KernelPolicy::fuses(std::string_view name) const {
  return std::any_of(fusions.begin(), fusions.end(), [&](const std::string& f) { return f == name || f == "all"; });
}

std::string_view kind_of(std::string_view device) { return device.substr(0, device.find(':')); }

bool runs_on(std::string_view backend, std::string_view device) {
  const std::string_view kind = kind_of(device);
  if (backend == kind) return true;
  for (const std::string_view own : kDeviceBackends)
    if (own == backend || own == kind) return false;
  return true;
}

KernelPolicy policy_on(const KernelPolicy& policy, std::string_view device) {
  KernelPolicy here = policy;
  if (!runs_on("cpu", device)) here.backends = {std::string(kind_of(device))};
  std::erase_if(here.pins,
                [&](const KernelPolicy::Pin& pin) { return !runs_on(std::string_view(pin.kernel).substr(0, pin.kernel.find('/')), device); });
  return here;
}

void Registry::Adder::add(Kernel k) {
  k.backend = backend_;
  KERF_CHECK(k.accepts && k.run && !k.op.empty() && !k.note.empty(), "kernel " + k.name() + " lacks op, note, accepts or run");
  KERF_CHECK(!registry_.find(k.name()), "two kernels named " + k.name());
  registry_.kernels_.push_back(std::move(k));
}

const Kernel* Registry::find(std::string_view name) const {
  for (const auto& k : kernels_)
    if (k.name() == name) return &k;
  return nullptr;
}

std::string Registry::why_not(const Kernel& k, const Problem& p, const KernelPolicy& policy, std::string_view node) const {
  if (k.op != name_of(p.op)) return fmt::format("computes {}", k.op);
  for (const auto& pin : policy.pins)
    if (applies(pin, policy, k.op, node) && pin.kernel != k.name()) return fmt::format("--kernel {}={} is asked for", pin.op, pin.kernel);
  if (k.isa > policy.isa) return fmt::format("needs {}, {} is allowed here", name_of(k.isa), name_of(policy.isa));
  for (size_t i = 0; i < p.out.size(); ++i)
    if (p.out[i].dtype != own_format(p, i) && (i > 0 || std::find(k.writes.begin(), k.writes.end(), p.out[0].dtype) == k.writes.end()))
      return fmt::format("does not write {}", name_of(p.out[i].dtype));
  return k.accepts(p).why_not;
}

const Kernel* Registry::best(const Problem& p, const KernelPolicy& policy, std::string_view node) const {
  bool pinned = false;
  for (const auto& pin : policy.pins) {
    if (!applies(pin, policy, name_of(p.op), node)) continue;
    pinned = true;
    if (!find(pin.kernel))
      throw Error(ErrorKind::usage, fmt::format("no kernel is named \"{}\"", pin.kernel), "--kernel " + pin.op, "kerf kernels list shows all names");
  }
  for (const auto& backend : policy.backends) {
    const Kernel *best = nullptr, *tied = nullptr;
    for (const auto& k : kernels_) {
      if (k.op != name_of(p.op) || k.isa > policy.isa || (!pinned && k.backend != backend)) continue;
      if (!why_not(k, p, policy, node).empty()) continue;
      if (best && best->preference == k.preference && best->backend == k.backend) tied = &k;
      if (!best || k.preference > best->preference) best = &k;
    }
    KERF_CHECK(!tied || tied->preference != best->preference,
               fmt::format("{} and {} have equal preference for {}", best->name(), tied->name(), to_text(p)));
    if (best) return best;
  }
  return nullptr;
}

}  // namespace kerf
