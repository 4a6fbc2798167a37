// kerf kernels: what exists, why one was chosen, whether it is right, how fast it is, what is missing.
#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "core/cost.h"
#include "core/error.h"
#include "core/text.h"
#include "experiments/commands.h"
#include "experiments/coverage.h"
#include "experiments/kernel_check.h"

namespace kerf {
namespace {

bool matches(std::string_view name, const std::vector<std::string>& filter) {
  return filter.empty() || std::any_of(filter.begin(), filter.end(), [&](const std::string& f) { return name.find(f) != std::string_view::npos; });
}

[[noreturn]] void no_match(const KernelArgs& args) {
  throw Error(ErrorKind::usage, "no name has this in it", printable(fmt::format("{}", fmt::join(args.filter, " "))),
              "kerf kernels list shows all kernels, kerf kernels explain the nodes of a model");
}

Isa allowed_isa(const KernelArgs& args) { return kernel_policy(args.model).isa; }

int list(const KernelArgs& args, const Registry& registry, const Io& io) {
  std::string text = fmt::format("{:<44} {:<7} {:>4}  {}\n", "kernel", "needs", "pref", "what it is");
  nlohmann::json rows = nlohmann::json::array();
  for (const auto& k : registry.all()) {
    if (!matches(k.name(), args.filter)) continue;
    text += fmt::format("{:<44} {:<7} {:>4}  {}\n", k.name(), name_of(k.isa), k.preference, k.note);
    rows.push_back({{"name", k.name()},
                    {"op", k.op},
                    {"backend", k.backend},
                    {"variant", k.variant},
                    {"improves", k.improves},
                    {"isa", name_of(k.isa)},
                    {"preference", k.preference},
                    {"note", k.note}});
  }
  if (rows.empty()) no_match(args);
  if (io.json)
    io.out_json({{"schema", 1}, {"kernels", rows}});
  else
    io.out(text);
  return 0;
}

int explain_choice(const KernelArgs& args, const Registry& registry, const Io& io) {
  if (!args.model.plan.empty()) throw Error(ErrorKind::usage, "a plan names its kernels itself", "--plan", "leave it out");
  SessionOptions options = session_options(args.model);
  options.plan_only = true;
  Session session(std::move(options), registry);
  announce(session, io);
  nlohmann::json shapes = nlohmann::json::array();
  std::string text;
  for (const int64_t tokens : {session.micro_batch(), int64_t{1}}) {
    const auto& planned = session.planned(tokens, 1);
    text += fmt::format("micro-batch of {} tokens\n", tokens);
    nlohmann::json nodes = nlohmann::json::array();
    for (const auto& node : planned.graph->nodes()) {
      if (!matches(node.name, args.filter)) continue;
      const std::string why = explain(*planned.graph, node, registry, session.policy(), session.placement());
      text += why;
      nodes.push_back({{"node", node.name}, {"explanation", why}});
    }
    if (nodes.empty()) no_match(args);
    shapes.push_back({{"tokens", tokens}, {"nodes", std::move(nodes)}});
    if (session.micro_batch() == 1) break;
  }
  if (io.json)
    io.out_json({{"schema", 1}, {"shapes", shapes}});
  else
    io.out(text);
  return 0;
}

int test(const KernelArgs& args, const Registry& registry, const Io& io) {
  Registry selected;
  for (const auto& k : registry.all())
    if (matches(k.name(), args.filter)) selected.backend(k.backend).add(k);
  if (selected.all().empty()) no_match(args);
  KernelChecker::Selection select{.isa = allowed_isa(args), .seed = args.seed, .before_each = stop_if_interrupted};
  if (args.only_case >= 0) select.only = static_cast<size_t>(args.only_case);
  const auto reports = KernelChecker().test(selected, select, [&](const std::string& failure) { io.log->error("{}", failure); });
  if (args.only_case >= 0 && std::all_of(reports.begin(), reports.end(), [](const KernelReport& r) { return r.cases == 0; }))
    throw Error(ErrorKind::usage, fmt::format("no selected kernel has a case {}", args.only_case), "--case");
  int failed = 0;
  std::string text = fmt::format("seed {}\n{:<44} {:>6} {:>6} {:>9} {:>9}\n", args.seed, "kernel", "cases", "failed", "of limit", "ulp");
  nlohmann::json rows = nlohmann::json::array();
  for (const auto& r : reports) {
    failed += r.failed > 0 || (r.cases == 0 && r.skipped.empty() && args.only_case < 0) ? 1 : 0;
    text += r.skipped.empty() ? fmt::format("{:<44} {:>6} {:>6} {:>9.3f} {:>9.2f}\n", r.kernel, r.cases, r.failed, r.worst, r.worst_ulp)
                              : fmt::format("{:<44} skipped: {}\n", r.kernel, r.skipped);
    nlohmann::json j{{"kernel", r.kernel},        {"cases", r.cases},         {"failed", r.failed},
                     {"worst_of_limit", r.worst}, {"worst_ulp", r.worst_ulp}, {"cosine", r.cosine}};
    if (!r.skipped.empty()) j["skipped"] = r.skipped;
    for (const auto& f : r.failures) j["failures"].push_back({{"problem", f.problem}, {"failure", f.failure}, {"seed", f.seed}});
    rows.push_back(std::move(j));
  }
  if (io.json)
    io.out_json({{"schema", 1}, {"seed", args.seed}, {"kernels", rows}, {"failed", failed}});
  else
    io.out(text + fmt::format("{} kernels, {} failed\n", reports.size(), failed));
  return failed ? static_cast<int>(ErrorKind::check) : 0;
}

/// Shapes worth a row: one token and a micro-batch on matrices larger than the caches of a core.
std::vector<Problem> bench_problems(const Kernel& k) {
  std::vector<Problem> all;
  constexpr int64_t kWidth = 2048, kRows = 8192, kHead = 128, kHeads = 12, kKvHeads = 2, kContext = 4096;
  for (const int64_t T : {int64_t{1}, int64_t{128}}) {
    const TensorDesc x = matrix(DType::f32, T, kWidth), positions = vector_of(DType::i32, T), ids = vector_of(DType::i32, T);
    for (const auto& row : kDTypes) {
      const DType t = row.dtype;
      if (row.gguf_id < 0) continue;
      if (k.op == Rows::name) all.push_back(problem(Rows{}, {matrix(t, kRows, kWidth), ids}));
      if (k.op == MatMul::name)
        for (const DType a : {DType::f32, DType::q8_g16}) all.push_back(problem(MatMul{}, {matrix(a, T, kWidth), matrix(t, kRows, kWidth)}));
      const TensorDesc cache{t, {1, kKvHeads, kContext, kHead}};
      if (k.op == KvWrite::name) all.push_back(problem(KvWrite{}, {cache, matrix(DType::f32, T, kKvHeads * kHead), positions}));
      if (k.op == Attention::name)
        all.push_back(problem(Attention{.n_head = kHeads, .scale = 0.088f}, {matrix(DType::f32, T, kHeads * kHead), cache, cache, positions}));
    }
    if (k.op == Add::name) all.push_back(problem(Add{}, {x, x}));
    if (k.op == RmsNorm::name) all.push_back(problem(RmsNorm{}, {x, vector_of(DType::f32, kWidth)}));
    if (k.op == RopeTable::name) all.push_back(problem(RopeTable{.dims = kHead}, {positions}));
    if (k.op == Rope::name) all.push_back(problem(Rope{.head_dim = kHead, .pairing = RopePairing::neox}, {x, matrix(DType::f32, T, kHead)}));
    if (k.op == SwiGlu::name) all.push_back(problem(SwiGlu{}, {matrix(DType::f32, T, kRows), matrix(DType::f32, T, kRows)}));
    if (k.op == Convert::name) all.push_back(problem(Convert{.to = DType::q8_g16}, {x}));
  }
  return all;
}

int bench(const KernelArgs& args, const Registry& registry, const Io& io) {
  ThreadPool pool(args.model.threads > 0 ? args.model.threads : usable_cores());
  const Isa isa = allowed_isa(args);
  if (std::none_of(registry.all().begin(), registry.all().end(), [&](const Kernel& k) { return matches(k.name(), args.filter); })) no_match(args);
  nlohmann::json rows = nlohmann::json::array();
  if (!io.json)
    io.out(fmt::format("{} threads; attention with 2048 positions in the cache\n{:<44} {:<56} {:>10} {:>9} {:>10}\n", pool.size(), "kernel",
                       "problem", "us", "GB/s", "GFLOP/s"));
  for (const auto& k : registry.all()) {
    if (!matches(k.name(), args.filter) || k.isa > isa) continue;
    for (const auto& p : bench_problems(k)) {
      if (!k.accepts(p)) continue;
      const auto t = time_kernel(k, p, k.op == Attention::name ? 2048 : 0, pool, args.seconds);
      const std::string what = to_text(p);
      if (!io.json)
        io.out(fmt::format("{:<44} {:<56} {:>10.1f} {:>9.2f} {:>10.2f}\n", k.name(), what.substr(what.find(": ") + 2), t.seconds * 1e6, t.gbytes,
                           t.gflops));
      rows.push_back({{"kernel", k.name()},
                      {"problem", what},
                      {"seconds", t.seconds},
                      {"gb_per_s", t.gbytes},
                      {"gflop_per_s", t.gflops},
                      {"threads", pool.size()}});
      stop_if_interrupted();
    }
  }
  if (io.json) io.out_json({{"schema", 1}, {"rows", rows}});
  return 0;
}

int coverage(const Registry& registry, const Io& io) {
  const auto rows = kernel_coverage(registry);
  if (io.json) {
    nlohmann::json list = nlohmann::json::array();
    for (const auto& r : rows) list.push_back({{"op", r.op}, {"type", r.type}, {"backend", r.backend}, {"kernel", r.kernel}, {"why_not", r.why_not}});
    io.out_json({{"schema", 1}, {"coverage", list}});
  } else {
    io.out(coverage_text(rows));
  }
  return 0;
}

}  // namespace

int kernels_command(const KernelArgs& args, const Io& io) {
  const Registry registry = all_kernels();
  if (args.action == "list") return list(args, registry, io);
  if (args.action == "explain") return explain_choice(args, registry, io);
  if (args.action == "test") return test(args, registry, io);
  if (args.action == "bench") return bench(args, registry, io);
  return coverage(registry, io);
}

}  // namespace kerf
