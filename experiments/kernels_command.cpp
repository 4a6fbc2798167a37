// kerf kernels: what exists, why one was chosen, whether it is right, how fast it is, what is missing.
#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "backends/backends.h"
#include "core/error.h"
#include "core/text.h"
#include "experiments/coverage.h"
#include "experiments/kernel_check.h"
#include "experiments/kernels_command.h"

namespace kerf {
namespace {

Isa allowed_isa(const KernelArgs& args) { return kernel_policy(args.model).isa; }

int list(const KernelArgs& args, const Registry& registry, const Io& io) {
  std::string text = fmt::format("{:<44} {:<7} {:>4}  {}\n", "kernel", "needs", "pref", "what it is");
  nlohmann::json rows = nlohmann::json::array();
  for (const auto& k : registry.all()) {
    if (!name_matches(k.name(), args.filter)) continue;
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
  if (rows.empty()) no_name_matches(args);
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
      if (!name_matches(node.name, args.filter)) continue;
      const DeviceId device = planned.plan->device_of(node, *planned.graph);
      const std::string why = explain(*planned.graph, node, device, registry, session.policy(), session.placement());
      text += why;
      nodes.push_back({{"node", node.name}, {"explanation", why}});
    }
    if (nodes.empty()) no_name_matches(args);
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
    if (name_matches(k.name(), args.filter)) selected.backend(k.backend).add(k);
  if (selected.all().empty()) no_name_matches(args);
  KernelChecker::Selection select{.isa = allowed_isa(args), .seed = args.seed, .before_each = stop_if_interrupted};
  if (args.only_case >= 0) select.only = static_cast<size_t>(args.only_case);
  const auto device = args.device.empty() ? nullptr : make_device(args.device, device_kinds());
  select.device = device.get();
  const DeviceId where = device ? device->id() : kHost;
  if (std::none_of(selected.all().begin(), selected.all().end(), [&](const Kernel& k) { return runs_on(k.backend, where); }))
    throw Error(ErrorKind::usage, fmt::format("none of these kernels runs on {}", where), "--device",
                fmt::format("{} runs on devices of its own: --device {}:0=1GiB", selected.all()[0].name(), selected.all()[0].backend));
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

bool name_matches(std::string_view name, const std::vector<std::string>& words) {
  return words.empty() || std::any_of(words.begin(), words.end(), [&](const std::string& w) { return name.find(w) != std::string_view::npos; });
}

void no_name_matches(const KernelArgs& args) {
  throw Error(ErrorKind::usage, "no name has this in it", printable(fmt::format("{}", fmt::join(args.filter, " "))),
              "kerf kernels list shows all kernels, kerf kernels explain the nodes of a model");
}

int kernels_command(const KernelArgs& args, const Io& io) {
  const Registry registry = all_kernels();
  if (args.action == "list") return list(args, registry, io);
  if (args.action == "explain") return explain_choice(args, registry, io);
  if (args.action == "test") return test(args, registry, io);
  if (args.action == "bench") return kernels_bench(args, registry, io);
  if (args.action == "launches") return kernels_launches(args, registry, io);
  return coverage(registry, io);
}

}  // namespace kerf
