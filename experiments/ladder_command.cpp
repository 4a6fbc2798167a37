// kerf kernels ladder NAME: what each rung changes, and what that is worth.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "core/cost.h"
#include "core/error.h"
#include "core/text.h"
#include "experiments/commands.h"
#include "experiments/kernel_check.h"
#include "experiments/ladder.h"

namespace kerf {
namespace {

constexpr std::string_view kBackend = "cpu";
constexpr double kLongestCall = 2;  // seconds; the problem is made smaller until the first rung needs less

struct Row {
  LadderRung rung{};
  RungTimes times{};
  CheckResult check{};  // kernel empty: the small case is none for it
};
struct Ladder {
  int64_t tokens = 0, depth = 0, shrink = 1;
  std::vector<Row> rows{};
  std::vector<std::pair<std::string, std::string>> skipped{};  // kernel, why
};

int64_t depth_of(const Problem& p) { return std::holds_alternative<Attention>(p.op) ? p.in[1].shape[2] - p.in[0].rows() : 0; }

/// The same computation, small enough for a reference in double.
CheckResult check_small(KernelChecker& checker, const LadderRung& rung, ThreadPool& pool) {
  Problem p = rung.problem;
  const int64_t T = std::min<int64_t>(p.in[0].rows(), 64);
  std::vector<TensorDesc> in = p.in;
  if (reads_formats(p.op)) {
    for (auto& d : in) d.shape = {1, 1, 64, 512};
    in[0].shape[2] = T;
  } else if (std::holds_alternative<Attention>(p.op)) {
    in[0].shape[2] = in[3].shape[3] = T;
    in[1].shape[2] = in[2].shape[2] = T + 200;
  }
  const KernelCase c{problem(p.op, in), DataKind::normal, std::holds_alternative<Attention>(p.op) ? 200 : -1};
  if (!rung.kernel->accepts(c.problem)) return {};
  ThreadPool* const pools[] = {&pool};
  return checker.check(*rung.kernel, c, 1, pools);
}

Ladder measure(const LadderSubject& subject, int64_t tokens, const Registry& registry, Isa isa, ThreadPool& pool, KernelChecker& checker,
               const LadderArgs& args) {
  Ladder ladder{.tokens = tokens};
  const auto rungs_for = [&](int64_t shrink) {
    auto rungs = ladder_rungs(registry, kBackend, ladder_problems(subject, tokens, shrink));
    return rungs;
  };
  const auto runs = [&](const LadderRung& r) { return r.kernel->isa <= isa; };
  // The first rung says how large the problem may be: timed on a 64th of it.
  constexpr int64_t kProbe = 64;
  auto probe = rungs_for(kProbe);
  if (probe.empty()) throw Error(ErrorKind::usage, fmt::format("no kernel of {} computes this", kBackend), args.name, "kerf kernels list shows all");
  const Problem small = probe[0].problem, whole = rungs_for(1).at(0).problem;
  const double once =
      time_rungs({probe[0]}, depth_of(small), pool, {.seconds = 0.02, .rounds = 1, .rotated_bytes = 0}, stop_if_interrupted)[0].median();
  const double factor = static_cast<double>(cost(whole, depth_of(whole)).bytes + cost(whole, depth_of(whole)).flops) /
                        static_cast<double>(cost(small, depth_of(small)).bytes + cost(small, depth_of(small)).flops);
  while (once * factor / static_cast<double>(ladder.shrink) > kLongestCall && ladder.shrink < kProbe) ladder.shrink *= 2;

  std::vector<LadderRung> rungs;
  auto all = rungs_for(ladder.shrink);
  for (const auto& r : all)
    if (!runs(r)) ladder.skipped.emplace_back(r.kernel->name(), fmt::format("needs {}, allowed is {}", name_of(r.kernel->isa), name_of(isa)));
  Registry allowed;
  for (const auto& k : registry.all())
    if (k.isa <= isa) allowed.backend(k.backend).add(k);
  rungs = ladder_rungs(allowed, kBackend, ladder_problems(subject, tokens, ladder.shrink));
  ladder.depth = depth_of(rungs[0].problem);
  const auto times = time_rungs(rungs, ladder.depth, pool, {.seconds = args.seconds, .rotated_bytes = parse_bytes(args.rotate)}, stop_if_interrupted);
  for (size_t i = 0; i < rungs.size(); ++i) {
    ladder.rows.push_back({.rung = rungs[i], .times = times[i], .check = check_small(checker, rungs[i], pool)});
    // The kernels of `allowed` end with it: names stay, found again in what lives on.
    ladder.rows.back().rung.kernel = registry.find(rungs[i].kernel->name());
  }
  return ladder;
}

std::string text_of(const Ladder& ladder, int threads) {
  const auto& rows = ladder.rows;
  const double first = rows[0].times.median();
  double best = first;
  for (const auto& r : rows) best = std::min(best, r.times.median());
  size_t width = 4;
  for (const auto& r : rows) width = std::max(width, r.rung.kernel->variant.size());
  std::string text = fmt::format("{} tokens, {} threads: {}\n", ladder.tokens, threads, to_text(rows[0].rung.problem));
  if (ladder.depth > 0) text += fmt::format("{} positions in the cache before them\n", ladder.depth);
  if (ladder.shrink > 1) text += fmt::format("one part in {} of the usual problem, as the first rung is slow\n", ladder.shrink);
  text += fmt::format("{:<{}} {:<7} {:>11} {:>8} {:>9} {:>9} {:>9} {:>9}\n", "rung", width, "needs", "us", "GB/s", "GFLOP/s", "to below", "to first",
                      "ulp");
  for (const auto& r : rows) {
    const Kernel& k = *r.rung.kernel;
    const double seconds = r.times.median();
    const Cost c = cost(r.rung.problem, ladder.depth);
    const auto ratio = [&](double other) { return fmt::format("{:.2f}x", other / seconds); };
    text += fmt::format("{:<{}} {:<7} {:>11.1f} {:>8.2f} {:>9.2f} {:>9} {:>9} {:>9}\n", k.variant.empty() ? std::string(k.op) : k.variant, width,
                        name_of(k.isa), seconds * 1e6, static_cast<double>(c.bytes) / seconds * 1e-9, static_cast<double>(c.flops) / seconds * 1e-9,
                        r.rung.below ? ratio(rows[*r.rung.below].times.median()) : "-", ratio(first),
                        r.check.kernel.empty() ? "-"
                        : !r.check             ? "wrong"
                                               : fmt::format("{:.2f}", r.check.worst_ulp));
  }
  text += "\nspeed, logarithmic; what changes\n";
  constexpr int kBar = 40;
  for (const auto& r : rows) {
    const double share = best < first ? std::log(first / r.times.median()) / std::log(first / best) : 1;
    const int bar = 1 + static_cast<int>(std::clamp(share, 0., 1.) * (kBar - 1) + 0.5);
    const Kernel& k = *r.rung.kernel;
    text += fmt::format("{:<{}} {:#<{}}\n{:<{}} {}{}\n", k.variant.empty() ? std::string(k.op) : k.variant, width, "", bar, "", width,
                        k.improves.empty() ? "" : fmt::format("improves {}: ", k.improves), k.note);
  }
  for (const auto& [kernel, why] : ladder.skipped) text += fmt::format("{} {}\n", kernel, why);
  return text;
}

nlohmann::json json_of(const Ladder& ladder) {
  nlohmann::json rungs = nlohmann::json::array(), skipped = nlohmann::json::array();
  const double first = ladder.rows[0].times.median();
  for (const auto& r : ladder.rows) {
    const Kernel& k = *r.rung.kernel;
    const double seconds = r.times.median();
    const Cost c = cost(r.rung.problem, ladder.depth);
    nlohmann::json j{{"kernel", k.name()},
                     {"variant", k.variant},
                     {"improves", k.improves},
                     {"isa", name_of(k.isa)},
                     {"note", k.note},
                     {"problem", to_text(r.rung.problem)},
                     {"runs", r.times.seconds.size()},
                     {"seconds", seconds},
                     {"seconds_p10", r.times.at(0.1)},
                     {"seconds_p90", r.times.at(0.9)},
                     {"gb_per_s", static_cast<double>(c.bytes) / seconds * 1e-9},
                     {"gflop_per_s", static_cast<double>(c.flops) / seconds * 1e-9},
                     {"ratio_first", first / seconds},
                     {"below", nullptr},
                     {"ratio_below", nullptr},
                     {"ulp", nullptr}};
    if (r.rung.below) {
      j["below"] = ladder.rows[*r.rung.below].rung.kernel->name();
      j["ratio_below"] = ladder.rows[*r.rung.below].times.median() / seconds;
    }
    if (!r.check.kernel.empty()) {
      j["ulp"] = r.check.worst_ulp;
      j["right"] = bool(r.check);
    }
    rungs.push_back(std::move(j));
  }
  for (const auto& [kernel, why] : ladder.skipped) skipped.push_back({{"kernel", kernel}, {"why", why}});
  return {{"tokens", ladder.tokens}, {"depth", ladder.depth}, {"shrink", ladder.shrink}, {"rungs", rungs}, {"skipped", skipped}};
}

}  // namespace

int ladder_command(const LadderArgs& args, const Io& io) {
  const LadderSubject subject = ladder_subject(args.name);
  const Isa isa = kernel_policy({.isa = args.isa}).isa;
  const Registry registry = all_kernels();
  ThreadPool pool(args.threads > 0 ? args.threads : usable_cores());
  KernelChecker checker;
  std::vector<int64_t> tokens = args.tokens;
  if (tokens.empty() && (reads_formats(subject.op) || std::holds_alternative<Attention>(subject.op))) tokens = {1, 512};
  if (tokens.empty()) tokens = {32};  // 200 KB of activations, as they lie in a core's cache
  nlohmann::json shapes = nlohmann::json::array();
  bool right = true;
  for (size_t i = 0; i < tokens.size(); ++i) {
    const Ladder ladder = measure(subject, tokens[i], registry, isa, pool, checker, args);
    for (const auto& r : ladder.rows) right = right && (r.check.kernel.empty() || r.check);
    if (!io.json) io.out((i > 0 ? "\n" : "") + text_of(ladder, pool.size()));
    shapes.push_back(json_of(ladder));
  }
  if (io.json)
    io.out_json({{"schema", 1},
                 {"command", io.command},
                 {"name", args.name},
                 {"backend", kBackend},
                 {"isa", name_of(isa)},
                 {"threads", pool.size()},
                 {"shapes", std::move(shapes)}});
  return right ? 0 : static_cast<int>(ErrorKind::check);
}

}  // namespace kerf
