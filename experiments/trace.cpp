// kerf trace: a prompt and some tokens, and where their time went.
#include "experiments/trace.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <random>

#include "core/cost.h"
#include "core/error.h"
#include "experiments/commands.h"
#include "loaders/tokenizer/tokenizer.h"

namespace kerf {
namespace {

using Clock = std::chrono::steady_clock;

Trace::StepInfo info_of(const Plan& plan, const Graph& graph, const Step& step) {
  if (const auto* run = std::get_if<RunStep>(&step)) {
    const Node& node = graph.nodes()[run->node];
    return {node.name, std::string(name_of(node.op)), run->device, run->kernel};
  }
  if (const auto* copy = std::get_if<CopyStep>(&step)) {
    const Place &from = plan.places[copy->from], &to = plan.places[copy->to];
    return {graph[from.value].name, "copy", from.device + " -> " + to.device, ""};
  }
  const auto& convert = std::get<ConvertStep>(step);
  return {graph[plan.places[convert.from].value].name, "convert", convert.device, convert.kernel};
}

Cost cost_of(const Step& step, int64_t depth) {
  if (const auto* run = std::get_if<RunStep>(&step)) return cost(run->problem, depth);
  if (const auto* convert = std::get_if<ConvertStep>(&step)) return cost(convert->problem, depth);
  return {0, std::get<CopyStep>(step).bytes};
}

/// Writes a session's passes into a trace while it lives.
class Recorder final : public Observer {
 public:
  explicit Recorder(Session& session) : session_(session), start_(Clock::now()) {
    trace_.threads = session.threads();
    session.pool().measure(true);
    session.observe(this);
  }

  void begin_phase(const std::string& name) {
    session_.pool().take_work();
    trace_.phases.push_back({.name = name});
  }
  void forward(std::span<const int32_t> tokens, std::vector<float>& logits) {
    last_plan_ = nullptr;
    observed_ = 0;
    const auto begin = Clock::now();
    logits = session_.forward(tokens);
    Trace::Phase& phase = trace_.phases.back();
    phase.ns += since(begin) - observed_;
    phase.tokens += static_cast<int64_t>(tokens.size());
  }

  void after(const StepEvent& event) override {
    const auto entered = Clock::now();
    const int64_t end = ns(entered - start_), length = static_cast<int64_t>(event.seconds * 1e9 + 0.5);
    if (&event.plan != last_plan_ || event.index <= last_index_) begin_pass(event);
    last_index_ = event.index;
    Trace::Pass& pass = trace_.phases.back().passes.back();
    if (!pass.steps.empty()) pass.observer += own_;
    const Trace::StepInfo& info = trace_.plans[pass.plan].steps[event.index];
    Trace::Step step{.index = event.index, .begin = end - length, .ns = length};
    step.idle = length * (trace_.threads - 1);
    for (const auto& w : session_.pool().take_work()) {
      const int64_t busy = ns(w.end - w.begin);
      step.idle += w.thread == 0 ? ns(w.left - w.end) : -busy;
      trace_.spans.push_back({w.thread, ns(w.begin - start_), busy, w.indices, w.stolen, info.name});
    }
    const Cost c = cost_of(event.plan.steps[event.index], pass.depth);
    step.bytes = c.bytes;
    step.flops = c.flops;
    pass.steps.push_back(step);
    own_ = since(entered);
    observed_ += own_;
  }

  Trace take() { return std::move(trace_); }

 private:
  static int64_t ns(Clock::duration d) { return std::chrono::duration_cast<std::chrono::nanoseconds>(d).count(); }
  static int64_t since(Clock::time_point t) { return ns(Clock::now() - t); }

  void begin_pass(const StepEvent& event) {
    size_t known = 0;
    while (known < plans_.size() && plans_[known] != &event.plan) ++known;
    if (known == plans_.size()) {
      plans_.push_back(&event.plan);
      Trace::PlanInfo plan{.shape = event.plan.shape};
      for (const auto& step : event.plan.steps) plan.steps.push_back(info_of(event.plan, event.graph, step));
      trace_.plans.push_back(std::move(plan));
    }
    last_plan_ = &event.plan;
    trace_.phases.back().passes.push_back({.plan = known, .depth = session_.position()});
    trace_.phases.back().passes.back().steps.reserve(event.plan.steps.size());
  }

  Session& session_;
  Clock::time_point start_;
  Trace trace_{};
  std::vector<const Plan*> plans_{};
  const Plan* last_plan_ = nullptr;
  size_t last_index_ = 0;
  int64_t own_ = 0, observed_ = 0;  // time taken by the last call of after(), and by all of this forward()
};

std::vector<int32_t> prompt_of(const TraceArgs& args, Session& session, const Io& io) {
  if (args.tokens > 0) {
    std::mt19937 rng(1);  // dense models take as long for any tokens; the same ones each time
    std::vector<int32_t> ids(static_cast<size_t>(args.tokens));
    for (auto& id : ids) id = static_cast<int32_t>(rng() % static_cast<uint32_t>(session.n_vocab()));
    return ids;
  }
  const Tokenizer tokenizer(read_vocab(session.file()));
  for (const auto& w : tokenizer.vocab().warnings) io.log->warn("warning: {}", w);
  auto ids = tokenizer.encode(args.prompt, {.add_special = true, .parse_special = true});
  if (ids.empty()) throw Error(ErrorKind::usage, "the prompt has no tokens", "-p");
  return ids;
}

int32_t most_probable(const std::vector<float>& logits) {
  return static_cast<int32_t>(std::max_element(logits.begin(), logits.end()) - logits.begin());
}

}  // namespace

int trace_command(const TraceArgs& args, const Io& io) {
  if (args.prompt.empty() == (args.tokens == 0))
    throw Error(ErrorKind::usage, args.tokens == 0 ? "there is no prompt" : "two prompts are given", "-p, --tokens", "give one of them");
  if (io.json && !args.format.empty() && args.format != "json")
    throw Error(ErrorKind::usage, "--json asks for another form", "--format " + args.format, "leave one out");
  const std::string format = io.json ? "json" : args.format.empty() ? "table" : args.format;
  if (format != "table" && (args.steps || args.nodes))
    throw Error(ErrorKind::usage, "they are rows of the table; the other forms have every step", "--steps, --nodes", "leave them out");
  if (args.steps && args.nodes) throw Error(ErrorKind::usage, "the table has rows of one kind", "--steps, --nodes", "leave one out");
  const Registry registry = all_kernels();
  LiveSession live(session_options(args.model), registry, io);
  Session& session = *live;
  const std::vector<int32_t> prompt = prompt_of(args, session, io);
  const int64_t longest = static_cast<int64_t>(prompt.size()) + args.n_predict;
  if (longest > session.context())
    throw Error(ErrorKind::memory,
                fmt::format("a prompt of {} tokens and {} more do not fit into the context of {}", prompt.size(), args.n_predict, session.context()),
                "context", fmt::format("use -c {} or more", longest));
  std::vector<float> logits;
  if (!args.no_warmup) {  // weights read from the file, plans made, pages of the arena touched
    logits = session.forward(prompt);
    if (args.n_predict > 0) logits = session.forward(std::vector<int32_t>{most_probable(logits)});
    session.rewind(0);
  }
  Recorder recorder(session);
  recorder.begin_phase("prefill");
  recorder.forward(prompt, logits);
  if (args.n_predict > 0) recorder.begin_phase("decode");
  for (int64_t i = 0; i < args.n_predict; ++i) {
    const int32_t next = most_probable(logits);
    recorder.forward({&next, 1}, logits);
  }
  const Trace trace = recorder.take();
  const TraceRows rows = args.steps ? TraceRows::steps : args.nodes ? TraceRows::nodes : TraceRows::kernels;
  const std::string text = format == "json"     ? trace_json(trace, io.command, args.model.model)
                           : format == "chrome" ? trace_chrome(trace, io.command)
                                                : trace_table(trace, rows);
  if (args.out.empty())
    io.out(text);
  else
    write_file(args.out, text);
  return 0;
}

}  // namespace kerf
