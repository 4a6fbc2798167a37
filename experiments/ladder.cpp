#include "experiments/ladder.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstring>
#include <map>

#include "core/device.h"
#include "core/error.h"
#include "core/text.h"
#include "experiments/kernel_cases.h"
#include "experiments/kernel_data.h"

namespace kerf {
namespace {

// Qwen2.5 1.5B's widths: matrices and rows as a small model has them.
constexpr int64_t kWidth = 1536, kFeedForward = 8960, kHead = 128, kHeads = 12, kKvHeads = 2, kContext = 4096;

// Qwen3 30B-A3B's experts, Qwen3.5 35B-A3B's delta rule (heads of values; half as many of keys).
constexpr int64_t kExperts = 128, kUsed = 8, kExpertRows = 768, kExpertWidth = 2048, kDeltaHeads = 32;
constexpr int64_t kVocab = 151936;  // of all these models

/// The alternative of Op with this name.
template <class... Ops>
std::optional<Op> op_named(std::variant<Ops...>*, std::string_view name) {
  std::optional<Op> found;
  ((Ops::name == name ? void(found = Ops{}) : void()), ...);
  return found;
}

bool has_type(const Op& op) {
  return reads_formats(op) || std::holds_alternative<Attention>(op) || std::holds_alternative<KvWrite>(op) || std::holds_alternative<Rows>(op) ||
         std::holds_alternative<Convert>(op);
}

/// f32 and the formats that conversions make of it: those of no file that are not the layout of a weight.
std::vector<DType> activation_types() {
  std::vector<DType> types{DType::f32};
  for (const auto& row : kDTypes) {
    const bool weights = std::any_of(kDTypes.begin(), kDTypes.end(), [&](const auto& other) { return interleaved(other.dtype) == row.dtype; });
    if (row.gguf_id < 0 && !weights) types.push_back(row.dtype);
  }
  return types;
}

/// Inputs that a model streams from memory: weights and caches. Activations are still in a cache when an op reads them.
bool is_streamed(const Op& op, size_t input) {
  if (reads_formats(op)) return input > 0;
  return std::holds_alternative<Attention>(op) && (input == 1 || input == 2);
}

/// One overload per kind of op.
struct MakeProblems {
  std::optional<DType> type;
  int64_t T, shrink;
  std::vector<Problem> all{};

  void add(const Op& op, std::vector<TensorDesc> in) {
    try {
      all.push_back(problem(op, std::move(in)));
    } catch (const Error&) {  // this op has no such form
    }
  }
  /// For each layout of the weights and each format of the activations.
  template <class Weights>
  void add_products(const Op& op, Weights&& weights) {
    for (const auto w : {type, interleaved(*type)})
      if (w)
        for (const DType a : activation_types()) {
          std::vector<TensorDesc> in{matrix(a, T, kWidth)};
          for (const int64_t rows : weights()) in.push_back(matrix(*w, rows, kWidth));
          add(op, std::move(in));
        }
  }
  int64_t part(int64_t n, int64_t multiple) const { return std::max(multiple, n / shrink / multiple * multiple); }
  TensorDesc x(int64_t width) const { return matrix(DType::f32, std::max<int64_t>(1, T / shrink), width); }

  void operator()(const MatMul& op) {
    add_products(op, [&] { return std::vector{part(kFeedForward, 64)}; });
  }
  void operator()(MatMuls op) {
    op.count = 3;
    add_products(op, [&] { return std::vector{part(kWidth, 64), part(kKvHeads * kHead, 64), part(kKvHeads * kHead, 64)}; });
  }
  void operator()(const MatMulSwiGlu& op) {
    add_products(op, [&] { return std::vector{part(kFeedForward, 64), part(kFeedForward, 64)}; });
  }
  void operator()(Attention op) {
    op.n_head = kHeads;
    op.scale = 0.088388f;
    const TensorDesc cache{*type, {1, kKvHeads, std::max(T, part(kContext, 64)), kHead}};
    add(op, {matrix(DType::f32, T, kHeads * kHead), cache, cache, vector_of(DType::i32, T)});
  }
  void operator()(const KvWrite& op) {
    const TensorDesc values = x(kKvHeads * kHead);
    add(op, {{*type, {1, kKvHeads, kContext, kHead}}, values, vector_of(DType::i32, values.rows())});
  }
  void operator()(const Rows& op) { add(op, {matrix(*type, kFeedForward, kWidth), vector_of(DType::i32, std::max<int64_t>(1, T / shrink))}); }
  void operator()(const Add& op) { add(op, {x(kWidth), x(kWidth)}); }
  void operator()(const RmsNorm& op) { add(op, {x(kWidth), vector_of(DType::f32, kWidth)}); }
  void operator()(const SwiGlu& op) { add(op, {x(kFeedForward), x(kFeedForward)}); }
  void operator()(Convert op) {
    op.to = *type;
    add(op, {x(kWidth)});
  }
  void operator()(RopeTable op) {
    op.dims = kHead;
    add(op, {vector_of(DType::i32, std::max<int64_t>(1, T / shrink))});
  }
  void operator()(Rope op) {
    op.head_dim = kHead;
    op.pairing = RopePairing::neox;
    add(op, {x(kHeads * kHead), matrix(DType::f32, x(1).rows(), kHead)});
  }
  void operator()(const RopeCache&) {}
  void operator()(Columns op) {
    op = {.group = 2 * kHead, .first = 0, .count = kHead};
    add(op, {x(kHeads * 2 * kHead)});
  }
  void operator()(const SigmoidGate& op) { add(op, {x(kWidth), x(kWidth)}); }
  void operator()(Router op) {
    op.used = kUsed;
    add(op, {x(kExperts)});
  }
  void operator()(const Argmax& op) { add(op, {x(kVocab / shrink)}); }
  void operator()(const ExpertSum& op) {
    const int64_t tokens = x(1).rows();
    add(op, {matrix(DType::f32, tokens * kUsed, kExpertWidth), matrix(DType::f32, tokens, kUsed)});
  }
  void operator()(L2Norm op) {
    op.group = kHead;
    add(op, {x(kDeltaHeads / 2 * kHead)});
  }
  void operator()(CausalConv op) {
    op.keys = kDeltaHeads / 2 * kHead;
    const int64_t channels = 2 * kDeltaHeads * kHead;
    add(op, {x(channels), matrix(DType::f32, channels, 4), matrix(DType::f32, 3, channels), vector_of(DType::i32, x(1).rows())});
  }
  void operator()(const DeltaGates& op) {
    add(op, {x(kDeltaHeads), vector_of(DType::f32, kDeltaHeads), vector_of(DType::f32, kDeltaHeads), x(kDeltaHeads)});
  }
  void operator()(GatedDeltaRule op) {
    op.n_head_k = static_cast<int>(kDeltaHeads / 2);
    op.scale = 0.088388f;
    const TensorDesc q = x(kDeltaHeads / 2 * kHead), v = x(kDeltaHeads * kHead), g = x(kDeltaHeads);
    add(op, {q, q, v, g, g, {DType::f32, {1, kDeltaHeads, kHead, kHead}}, vector_of(DType::i32, q.rows())});
  }
  void operator()(const GatedRmsNorm& op) { add(op, {x(kDeltaHeads * kHead), vector_of(DType::f32, kHead), x(kDeltaHeads * kHead)}); }
  /// For each format of the activations, with a row per token or per slot.
  void add_experts(const Op& op, int64_t rows, int64_t width, int64_t x_rows, bool two, bool weighted) {
    const TensorDesc w{*type, {1, part(kExperts, kUsed), part(rows, 64), width}}, ids = matrix(DType::i32, T, kUsed);
    for (const DType a : activation_types()) {
      std::vector<TensorDesc> in{matrix(a, x_rows, width), w};
      if (two) in.push_back(w);
      in.push_back(ids);
      if (weighted) in.push_back(matrix(DType::f32, T, kUsed));
      add(op, std::move(in));
    }
  }
  void operator()(const ExpertMatMul& op) { add_experts(op, kExpertRows, kExpertWidth, T, false, false); }
  void operator()(const ExpertSwiGlu& op) { add_experts(op, kExpertRows, kExpertWidth, T, true, false); }
  void operator()(const ExpertMatMulSum& op) { add_experts(op, kExpertWidth, kExpertRows, T * kUsed, false, true); }
};

/// Memory for one form of the problem: enough copies of what is streamed, one of the rest.
class Bench {
 public:
  Bench(const Problem& p, int64_t depth, int64_t rotated_bytes, Device& device) : problem_(p) {
    const KernelInputs inputs = make_inputs(p, DataKind::normal, 1, depth);
    int64_t streamed = 0;
    for (size_t i = 0; i < p.in.size(); ++i)
      if (is_streamed(p.op, i)) streamed += p.in[i].bytes();
    const int64_t copies = streamed > 0 ? std::max<int64_t>(1, (rotated_bytes + streamed - 1) / streamed) : 1;
    for (const auto& d : p.out) outputs_.push_back(take(device, d, nullptr));
    for (int64_t c = 0; c < copies; ++c) {
      std::vector<TensorView> views;
      for (size_t i = 0; i < p.in.size(); ++i)
        views.push_back(c > 0 && !is_streamed(p.op, i) ? turns_[0][i] : take(device, p.in[i], inputs.bytes[i].data()));
      turns_.push_back(std::move(views));
    }
    for (size_t i = 0; i < p.out.size(); ++i)
      if (const auto input = alias_of(p.op, i)) outputs_[i].data = turns_[0][*input].data;
  }

  double seconds_of(const Kernel& kernel, ThreadPool& pool, Device& device) {
    using Clock = std::chrono::steady_clock;
    const auto need = static_cast<int64_t>(kernel.scratch(problem_));
    if (need > scratch_.size()) scratch_ = device.allocate(need);
    turn_ = (turn_ + 1) % turns_.size();
    const auto start = Clock::now();
    kernel.run(problem_, {.in = turns_[turn_], .out = outputs_, .scratch = {scratch_.data(), static_cast<size_t>(need)}, .pool = pool});
    return std::chrono::duration<double>(Clock::now() - start).count();
  }

 private:
  TensorView take(Device& device, const TensorDesc& d, const std::byte* bytes) {
    memory_.push_back(device.allocate(d.bytes()));
    if (bytes)
      std::memcpy(memory_.back().data(), bytes, static_cast<size_t>(d.bytes()));
    else
      std::memset(memory_.back().data(), 0, static_cast<size_t>(d.bytes()));
    return {d, memory_.back().data()};
  }

  Problem problem_;
  std::vector<Buffer> memory_{};
  std::vector<std::vector<TensorView>> turns_{};
  std::vector<TensorView> outputs_{};
  Buffer scratch_{};
  size_t turn_ = 0;
};

}  // namespace

LadderSubject ladder_subject(std::string_view name) {
  const size_t dot = std::min(name.find('.'), name.size());
  const auto op = op_named(static_cast<Op*>(nullptr), name.substr(0, dot));
  if (!op || std::holds_alternative<RopeCache>(*op))
    throw Error(ErrorKind::usage, fmt::format("no op with a ladder is called \"{}\"", printable(name.substr(0, dot))), "kerf kernels ladder",
                "try matmul.q4_k, attention, rms_norm");
  LadderSubject subject{.op = *op};
  const std::string_view type = name.substr(std::min(dot + 1, name.size()));
  if (!type.empty()) subject.type = dtype_named(type);
  if (!type.empty() && (!subject.type || !has_type(*op)))
    throw Error(
        ErrorKind::usage,
        has_type(*op) ? fmt::format("no type is called \"{}\"", printable(type)) : fmt::format("kernels of {} do not differ by type", name_of(*op)),
        fmt::format("kerf kernels ladder {}", printable(name)), "kerf kernels list shows all kernels");
  if (has_type(*op) && !subject.type) {
    if (!std::holds_alternative<Attention>(*op) && !std::holds_alternative<KvWrite>(*op))
      throw Error(ErrorKind::usage, fmt::format("kernels of {} differ by type", name_of(*op)), fmt::format("kerf kernels ladder {}", name_of(*op)),
                  fmt::format("say which, as in {}.{}", name_of(*op), std::holds_alternative<Convert>(*op) ? "q8_g16" : "q4_k"));
    subject.type = DType::f16;
  }
  return subject;
}

std::vector<Problem> ladder_problems(const LadderSubject& subject, int64_t tokens, int64_t shrink) {
  MakeProblems make{subject.type, tokens, shrink};
  std::visit(make, subject.op);
  return std::move(make.all);
}

std::vector<LadderRung> ladder_rungs(const Registry& registry, std::string_view backend, const std::vector<Problem>& problems) {
  std::vector<LadderRung> waiting, rungs;
  for (const auto& k : registry.all()) {
    if (problems.empty() || k.backend != backend || k.op != name_of(problems[0].op)) continue;
    const auto fits = std::find_if(problems.begin(), problems.end(), [&](const Problem& p) { return bool(k.accepts(p)); });
    if (fits != problems.end()) waiting.push_back({.kernel = &k, .problem = *fits});
  }
  const auto improved = [&](const Kernel& k) -> const Kernel* {
    return k.improves.empty() ? nullptr : registry.find(fmt::format("{}/{}.{}", backend, k.op, k.improves));
  };
  const auto index_in = [](const std::vector<LadderRung>& list, const Kernel* k) -> std::optional<size_t> {
    for (size_t i = 0; i < list.size(); ++i)
      if (list[i].kernel == k) return i;
    return std::nullopt;
  };
  // A chain of `improves` is at most as long as the list of kernels; one that is longer goes in a circle.
  const auto below = [&](const Kernel& k, const std::vector<LadderRung>& list) -> std::optional<size_t> {
    const Kernel* step = improved(k);
    for (size_t n = 0; step && n < registry.all().size(); ++n, step = improved(*step))
      if (const auto i = index_in(list, step)) return i;
    return std::nullopt;
  };
  while (!waiting.empty()) {
    size_t next = 0;
    const auto before = [&](const LadderRung& a, const LadderRung& b) {
      const bool a_waits = below(*a.kernel, waiting).has_value(), b_waits = below(*b.kernel, waiting).has_value();
      return a_waits != b_waits ? b_waits : a.kernel->preference < b.kernel->preference;
    };
    for (size_t i = 1; i < waiting.size(); ++i)
      if (before(waiting[i], waiting[next])) next = i;
    waiting[next].below = below(*waiting[next].kernel, rungs);
    rungs.push_back(std::move(waiting[next]));
    waiting.erase(waiting.begin() + static_cast<std::ptrdiff_t>(next));
  }
  return rungs;
}

std::vector<RungTimes> time_rungs(const std::vector<LadderRung>& rungs, int64_t depth, ThreadPool& pool, const LadderBudget& budget,
                                  const std::function<void()>& between) {
  const auto device = host_device();
  std::vector<std::pair<Problem, std::unique_ptr<Bench>>> benches;
  std::vector<Bench*> bench_of;
  for (const auto& rung : rungs) {
    auto known = std::find_if(benches.begin(), benches.end(), [&](const auto& b) { return b.first == rung.problem; });
    if (known == benches.end()) {
      benches.emplace_back(rung.problem, std::make_unique<Bench>(rung.problem, depth, budget.rotated_bytes, *device));
      known = benches.end() - 1;
    }
    bench_of.push_back(known->second.get());
  }
  std::vector<RungTimes> times(rungs.size());
  std::vector<double> spent(rungs.size());
  const double slot = budget.seconds / budget.rounds;
  for (int round = 0; round < budget.rounds; ++round)
    for (size_t i = 0; i < rungs.size(); ++i) {
      if (round > 0 && spent[i] >= budget.seconds) continue;
      const auto once = [&] { return bench_of[i]->seconds_of(*rungs[i].kernel, pool, *device); };
      double used = once();  // after another kernel: caches, clock and sleeping threads are not its own
      if (used > slot) times[i].seconds.push_back(used);
      while (used <= slot || times[i].seconds.empty()) {
        times[i].seconds.push_back(once());
        used += times[i].seconds.back();
      }
      spent[i] += used;
      if (between) between();
    }
  for (auto& t : times) std::sort(t.seconds.begin(), t.seconds.end());
  return times;
}

}  // namespace kerf
