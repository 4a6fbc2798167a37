// The forms of a trace: table, JSON, Chrome's trace events.
#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>

#include "experiments/io.h"
#include "experiments/trace.h"

namespace kerf {
namespace {

/// "blk.12.attn_q" -> "blk.*.attn_q".
std::string without_layer(const std::string& name) {
  std::string result;
  for (size_t begin = 0; begin <= name.size();) {
    const size_t end = std::min(name.find('.', begin), name.size());
    const std::string part = name.substr(begin, end - begin);
    const bool number = !part.empty() && part.find_first_not_of("0123456789") == std::string::npos;
    result += (begin ? "." : "") + (number ? "*" : part);
    begin = end + 1;
  }
  return result;
}

Trace::StepInfo key_of(const Trace::StepInfo& s, TraceRows rows) {
  switch (rows) {
    case TraceRows::kernels:
      return {"", s.op, s.device, s.kernel};
    case TraceRows::nodes:
      return {without_layer(s.name), s.op, s.device, s.kernel};
    case TraceRows::steps:
      return s;
    case TraceRows::ops:
      break;
  }
  return {"", s.op, "", ""};
}

double ratio(int64_t a, int64_t b) { return b > 0 ? static_cast<double>(a) / static_cast<double>(b) : 0; }

constexpr int kNameWidth = 28, kKernelWidth = 38;

std::string header(TraceRows rows) {
  return fmt::format("  {:<10} {:<14} {}{:<{}} {:>7} {:>10} {:>6} {:>10} {:>7} {:>8} {:>6}\n", "device", "op",
                     rows == TraceRows::kernels ? "" : fmt::format("{:<{}} ", rows == TraceRows::nodes ? "nodes" : "step", kNameWidth), "kernel",
                     kKernelWidth, "calls", "us", "share", "MB", "GB/s", "GFLOP/s", "idle");
}

struct PerPass {
  int64_t passes, threads, phase_ns;
  std::string row(const std::string& head, int64_t calls, int64_t ns, int64_t idle, int64_t bytes, int64_t flops) const {
    return fmt::format("  {} {:>7} {:>10.1f} {:>5.1f}% {:>10.3f} {:>7.2f} {:>8.2f} {:>5.1f}%\n", head,
                       fmt::format("{:.{}f}", ratio(calls, passes), calls % passes ? 1 : 0), ratio(ns, passes) * 1e-3, 100 * ratio(ns, phase_ns),
                       ratio(bytes, passes) * 1e-6, ratio(bytes, ns), ratio(flops, ns), 100 * ratio(idle, ns * threads));
  }
};

std::string table(const Trace& trace, const Trace::Phase& phase, TraceRows rows) {
  const TraceTotals sum = totals(phase);
  const auto passes = static_cast<int64_t>(phase.passes.size());
  const int64_t depth = phase.passes.front().depth;
  std::string text = fmt::format("{}: {} tokens in {} {} from position {}, {} threads; figures of one pass\n", phase.name, phase.tokens, passes,
                                 passes == 1 ? "pass" : "passes", depth, trace.threads);
  text += header(rows);
  const PerPass per{passes, trace.threads, phase.ns};
  for (const auto& g : group(trace, phase, rows)) {
    std::string head = fmt::format("{:<10} {:<14} ", g.what.device, g.what.op);
    if (rows != TraceRows::kernels) head += fmt::format("{:<{}} ", g.what.name, kNameWidth);
    text += per.row(head + fmt::format("{:<{}}", g.what.kernel, kKernelWidth), g.calls, g.ns, g.idle, g.bytes, g.flops);
  }
  const int width = 10 + 1 + 14 + 1 + (rows == TraceRows::kernels ? 0 : kNameWidth + 1) + kKernelWidth;
  const auto padded = [&](const std::string& s) { return fmt::format("{:<{}}", s, width); };
  text += "\n";
  for (const auto& g : group(trace, phase, TraceRows::ops)) text += per.row(padded("all " + g.what.op), g.calls, g.ns, g.idle, g.bytes, g.flops);
  int64_t calls = 0;
  for (const auto& p : phase.passes) calls += static_cast<int64_t>(p.steps.size());
  text += "\n" + per.row(padded("inside steps"), calls, sum.steps, sum.idle, sum.bytes, sum.flops);
  const auto outside = [&](const char* what, int64_t ns) {
    text += fmt::format("  {} {:>7} {:>10.1f} {:>5.1f}%\n", padded(what), "", ratio(ns, passes) * 1e-3, 100 * ratio(ns, phase.ns));
  };
  outside("between steps", sum.between);
  outside("before and after a pass", sum.around);
  text += per.row(padded("all"), calls, phase.ns, sum.idle, sum.bytes, sum.flops);
  return text + fmt::format("  {:.3f} ms per token, {:.2f} tokens/s; {:.2f} % outside kernels\n", ratio(phase.ns, phase.tokens) * 1e-6,
                            1e9 * ratio(phase.tokens, phase.ns), 100 * ratio(sum.between + sum.around, phase.ns));
}

nlohmann::json to_json(const TraceGroup& g, bool whole) {
  nlohmann::json j{{"op", g.what.op}, {"calls", g.calls}, {"ns", g.ns}, {"idle_ns", g.idle}, {"bytes", g.bytes}, {"flops", g.flops}};
  if (whole) {
    j["device"] = g.what.device;
    j["kernel"] = g.what.kernel;
  }
  return j;
}

}  // namespace

std::vector<TraceGroup> group(const Trace& trace, const Trace::Phase& phase, TraceRows rows) {
  std::vector<TraceGroup> groups;
  std::map<std::vector<std::string>, size_t> known;
  for (const auto& pass : phase.passes)
    for (const auto& s : pass.steps) {
      const Trace::StepInfo key = key_of(trace.plans[pass.plan].steps[s.index], rows);
      const auto [at, first] = known.emplace(std::vector{key.name, key.op, key.device, key.kernel}, groups.size());
      if (first) groups.push_back({.what = key});
      TraceGroup& g = groups[at->second];
      ++g.calls;
      g.ns += s.ns;
      g.idle += s.idle;
      g.bytes += s.bytes;
      g.flops += s.flops;
    }
  if (rows != TraceRows::steps) std::stable_sort(groups.begin(), groups.end(), [](const TraceGroup& a, const TraceGroup& b) { return a.ns > b.ns; });
  return groups;
}

TraceTotals totals(const Trace::Phase& phase) {
  TraceTotals t;
  for (const auto& pass : phase.passes) {
    for (size_t i = 0; i < pass.steps.size(); ++i) {
      const Trace::Step& s = pass.steps[i];
      t.steps += s.ns;
      t.idle += s.idle;
      t.bytes += s.bytes;
      t.flops += s.flops;
      if (i > 0) t.between += s.begin - (pass.steps[i - 1].begin + pass.steps[i - 1].ns);
    }
    t.between -= pass.observer;
  }
  t.around = phase.ns - t.steps - t.between;
  return t;
}

std::string trace_table(const Trace& trace, TraceRows rows) {
  std::string text;
  for (const auto& phase : trace.phases) text += (text.empty() ? "" : "\n") + table(trace, phase, rows);
  return text;
}

std::string trace_json(const Trace& trace, const std::string& command, const std::string& model) {
  nlohmann::json document{{"schema", 1}, {"command", command}, {"model", model}, {"threads", trace.threads}};
  for (const auto& p : trace.plans) {
    nlohmann::json steps = nlohmann::json::array();
    for (const auto& s : p.steps) steps.push_back({{"name", s.name}, {"op", s.op}, {"device", s.device}, {"kernel", s.kernel}});
    document["plans"].push_back(
        {{"tokens", p.shape.tokens}, {"outputs", p.shape.outputs}, {"context", p.shape.context}, {"steps", std::move(steps)}});
  }
  for (const auto& phase : trace.phases) {
    const TraceTotals t = totals(phase);
    nlohmann::json j{{"phase", phase.name},   {"tokens", phase.tokens}, {"ns", phase.ns},   {"steps_ns", t.steps}, {"between_ns", t.between},
                     {"around_ns", t.around}, {"idle_ns", t.idle},      {"bytes", t.bytes}, {"flops", t.flops}};
    for (const auto& g : group(trace, phase, TraceRows::kernels)) j["by_kernel"].push_back(to_json(g, true));
    for (const auto& g : group(trace, phase, TraceRows::ops)) j["by_op"].push_back(to_json(g, false));
    for (const auto& pass : phase.passes) {
      nlohmann::json steps = nlohmann::json::array();
      for (const auto& s : pass.steps)
        steps.push_back({{"step", s.index}, {"begin_ns", s.begin}, {"ns", s.ns}, {"idle_ns", s.idle}, {"bytes", s.bytes}, {"flops", s.flops}});
      j["passes"].push_back({{"plan", pass.plan}, {"depth", pass.depth}, {"observer_ns", pass.observer}, {"steps", std::move(steps)}});
    }
    document["phases"].push_back(std::move(j));
  }
  return one_line(document) + "\n";
}

std::string trace_chrome(const Trace& trace, const std::string& command) {
  constexpr int kDevices = 1, kThreads = 2;  // the "processes" of the drawing
  nlohmann::json events = nlohmann::json::array();
  const auto named = [&](const char* what, int pid, int tid, const std::string& name) {
    events.push_back({{"ph", "M"}, {"name", what}, {"pid", pid}, {"tid", tid}, {"args", {{"name", name}}}});
  };
  const auto micro = [](int64_t ns) { return static_cast<double>(ns) * 1e-3; };
  const auto complete = [&](int pid, int tid, const std::string& name, const std::string& kind, int64_t begin, int64_t ns, nlohmann::json args) {
    events.push_back({{"ph", "X"},
                      {"name", name},
                      {"cat", kind},
                      {"pid", pid},
                      {"tid", tid},
                      {"ts", micro(begin)},
                      {"dur", micro(ns)},
                      {"args", std::move(args)}});
  };
  named("process_name", kDevices, 0, "devices");
  named("process_name", kThreads, 0, "threads");
  for (int t = 0; t < trace.threads; ++t) named("thread_name", kThreads, t, t == 0 ? "caller" : fmt::format("worker {}", t));
  std::map<std::string, int> rows;
  for (const auto& phase : trace.phases)
    for (const auto& pass : phase.passes) {
      for (const auto& s : pass.steps) {
        const Trace::StepInfo& info = trace.plans[pass.plan].steps[s.index];
        const auto [row, first] = rows.emplace(info.device, static_cast<int>(rows.size()));
        if (first) named("thread_name", kDevices, row->second, info.device);
        complete(kDevices, row->second, info.name, info.op, s.begin, s.ns,
                 {{"kernel", info.kernel},
                  {"phase", phase.name},
                  {"depth", pass.depth},
                  {"bytes", s.bytes},
                  {"GB/s", ratio(s.bytes, s.ns)},
                  {"GFLOP/s", ratio(s.flops, s.ns)},
                  {"idle us", micro(s.idle)}});
      }
    }
  for (const auto& s : trace.spans) complete(kThreads, s.thread, s.name, "loop", s.begin, s.ns, {{"indices", s.indices}, {"stolen", s.stolen}});
  return one_line({{"traceEvents", std::move(events)}, {"displayTimeUnit", "ns"}, {"otherData", {{"command", command}}}}) + "\n";
}

}  // namespace kerf
