// kerf plan: the cut, before anything runs.
#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "core/cost.h"
#include "core/error.h"
#include "core/text.h"
#include "experiments/commands.h"

namespace kerf {
namespace {

nlohmann::json to_json(const Plan& plan, const Graph& graph) {
  nlohmann::json steps = nlohmann::json::array();
  const auto place = [&](size_t i) {
    const Place& p = plan.places[i];
    nlohmann::json j{
        {"value", graph[p.value].name}, {"device", p.device}, {"dtype", name_of(p.desc.dtype)}, {"shape", p.desc.shape}, {"bytes", p.desc.bytes()}};
    if (p.in_arena) j["arena_offset"] = p.offset;
    return j;
  };
  for (const auto& step : plan.steps) {
    nlohmann::json j;
    if (const auto* run = std::get_if<RunStep>(&step)) {
      j = {{"step", "run"},
           {"node", graph.nodes()[run->node].name},
           {"op", to_text(graph.nodes()[run->node].op)},
           {"device", run->device},
           {"kernel", run->kernel},
           {"scratch", run->scratch}};
      for (const size_t i : run->in) j["in"].push_back(place(i));
      for (const size_t i : run->out) j["out"].push_back(place(i));
    } else if (const auto* copy = std::get_if<CopyStep>(&step)) {
      j = {{"step", "copy"}, {"from", place(copy->from)}, {"to", place(copy->to)}, {"bytes", copy->bytes}};
    } else {
      const auto& convert = std::get<ConvertStep>(step);
      j = {{"step", "convert"}, {"device", convert.device}, {"kernel", convert.kernel}, {"from", place(convert.from)}, {"to", place(convert.to)}};
    }
    steps.push_back(std::move(j));
  }
  nlohmann::json memory;
  for (const auto& [id, m] : plan.memory) memory[id] = {{"weights", m.weights}, {"state", m.state}, {"compute", m.arena}, {"total", m.total()}};
  return {{"shape",
           {{"tokens", plan.shape.tokens}, {"outputs", plan.shape.outputs}, {"context", plan.shape.context}, {"result", name_of(plan.shape.result)}}},
          {"steps", std::move(steps)},
          {"memory", std::move(memory)},
          {"boundary", {{"copies", plan.boundary_copies()}, {"bytes", plan.boundary_bytes()}}}};
}

}  // namespace

std::map<DeviceId, int64_t> bytes_per_pass(const Plan& plan, int64_t depth) {
  std::map<DeviceId, int64_t> bytes;
  for (const auto& step : plan.steps) {
    if (const auto* run = std::get_if<RunStep>(&step))
      bytes[run->device] += cost(run->problem, depth).bytes;
    else if (const auto* convert = std::get_if<ConvertStep>(&step))
      bytes[convert->device] += cost(convert->problem, depth).bytes;
  }
  return bytes;
}

int plan_command(const PlanArgs& args, const Io& io) {
  if (!args.why.empty() && (!args.save.empty() || args.tokens > 0))
    throw Error(ErrorKind::usage, "--why answers one question", "--save, --tokens", "leave them out");
  SessionOptions options = session_options(args.model);
  options.plan_only = true;
  options.greedy = args.greedy;
  const Registry registry = all_kernels();
  if (args.tokens > 0) options.micro_batch = args.tokens;
  Session session(std::move(options), registry);
  if (args.tokens > session.context())
    throw Error(ErrorKind::memory, fmt::format("a micro-batch of {} tokens does not fit into the context of {}", args.tokens, session.context()),
                "--tokens", "use a larger -c");
  announce(session, io);
  if (args.greedy && session.result() == PassResult::logits)
    io.log->warn("warning: --greedy: {}, so these are plans for logits",
                 args.model.plan.empty() ? "the vocabulary has tokens that must never be generated" : "--plan has steps for logits");
  if (!args.why.empty()) {
    const auto& homes = session.placement().homes;
    const auto found = std::find_if(homes.begin(), homes.end(), [&](const Home& h) { return h.name == args.why; });
    if (found == homes.end())
      throw Error(ErrorKind::usage, fmt::format("the model has no weight or KV tensor \"{}\"", printable(args.why)), "--why",
                  "kerf plan lists the names");
    const Home& home = *found;
    if (io.json)
      io.out_json(
          nlohmann::json{{"schema", 1}, {"name", home.name}, {"device", home.device}, {"bytes", home.desc.bytes()}, {"because", home.because}});
    else
      io.out(fmt::format("{}  {}  {} bytes  on {}  because of {}\n", home.name, to_text(home.desc), home.desc.bytes(), home.device, home.because));
    return 0;
  }
  std::vector<int64_t> shapes{session.micro_batch()};
  if (args.tokens == 0 && session.micro_batch() != 1) shapes.push_back(1);
  std::string text;
  nlohmann::json document{{"schema", 1}, {"command", io.command}, {"model", args.model.model}};
  for (const auto& home : session.placement().homes)
    document["homes"].push_back({{"name", home.name},
                                 {"kind", name_of(home.kind)},
                                 {"dtype", name_of(home.desc.dtype)},
                                 {"shape", home.desc.shape},
                                 {"bytes", home.desc.bytes()},
                                 {"device", home.device},
                                 {"because", home.because}});
  for (const int64_t tokens : shapes) {
    const auto& planned = session.planned(tokens, 1);
    std::string part = to_text(*planned.plan, *planned.graph);
    for (const auto& [device, bytes] : bytes_per_pass(*planned.plan, session.context() - tokens))
      part += fmt::format("total   {:<10} {} bytes read and written by a pass at a full context, {} per token\n", device, bytes, bytes / tokens);
    text += text.empty() ? part : part.substr(part.find("\nshape") + 1);
    auto j = to_json(*planned.plan, *planned.graph);
    for (const auto& [device, bytes] : bytes_per_pass(*planned.plan, session.context() - tokens)) j["bytes_per_pass"][device] = bytes;
    document["plans"].push_back(std::move(j));
  }
  if (!args.save.empty()) write_file(args.save, text);
  if (io.json)
    io.out_json(document);
  else if (args.save.empty())
    io.out(text);
  return 0;
}

}  // namespace kerf
