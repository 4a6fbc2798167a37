// The text form of plans: written for people and diff, read back strictly.
#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <optional>
#include <sstream>

#include "core/checked.h"
#include "core/error.h"
#include "core/plan.h"
#include "core/plan_builder.h"
#include "core/text.h"

namespace kerf {
namespace {

constexpr std::string_view kHeader = "kerf-plan 1";

std::string shape_text(const Shape& s) { return fmt::format("{}x{}x{}x{}", s[0], s[1], s[2], s[3]); }

struct StepText {
  const Plan& plan;
  const Graph& graph;
  const std::string& name(size_t place) const { return graph[plan.places[place].value].name; }
  std::string operator()(const RunStep& s) const {
    const Node& node = graph.nodes()[s.node];
    const DType writes = s.problem.out[0].dtype;
    const std::string format = writes == own_format(s.problem) ? "" : fmt::format(" -> {}", name_of(writes));
    return fmt::format("run     {:<32} {:<10} {}{}\n", node.name, s.device, s.kernel, format);
  }
  std::string operator()(const CopyStep& s) const {
    return fmt::format("copy    {:<32} {} -> {} {}\n", name(s.from), plan.places[s.from].device, plan.places[s.to].device, s.bytes);
  }
  std::string operator()(const ConvertStep& s) const {
    return fmt::format("convert {:<32} {:<10} {} -> {} {}\n", name(s.from), s.device, name_of(plan.places[s.from].desc.dtype),
                       name_of(plan.places[s.to].desc.dtype), s.kernel);
  }
};

/// Reads the words of one line and says which line a wrong one is on.
struct LineReader {
  const std::string& path;
  const PlanFile::Line& line;
  [[noreturn]] void fail(std::string expected, std::string found) const {
    throw FileError({.path = path,
                     .offset = line.offset,
                     .field = fmt::format("line {}", line.number),
                     .expected = std::move(expected),
                     .found = std::move(found)});
  }
  const std::string& word(size_t i, std::string_view what) const {
    if (i >= line.words.size()) fail(std::string(what), "the end of the line");
    return line.words[i];
  }
  int64_t number(size_t i, std::string_view what) const { return number(word(i, what), what); }
  int64_t number(std::string_view text, std::string_view what) const {
    int64_t value = 0;
    const auto [end, failed] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (failed != std::errc{} || end != text.data() + text.size() || value < 0) fail(fmt::format("{} (a number)", what), printable(text));
    return value;
  }
  void literal(size_t i, std::string_view text) const {
    if (word(i, text) != text) fail(fmt::format("\"{}\"", text), printable(line.words[i]));
  }
  void end(size_t n) const {
    if (line.words.size() > n) fail("the end of the line", printable(line.words[n]));
  }
  DType dtype(size_t i) const {
    const auto t = dtype_named(word(i, "a dtype"));
    if (!t) fail("a dtype", printable(line.words[i]));
    return *t;
  }
};

Home read_home(const LineReader& r, Kind kind, std::string because) {
  Home home{.name = r.word(1, "a name"), .kind = kind, .device = r.word(5, "a device"), .because = std::move(because)};
  home.desc.dtype = home.stored = r.dtype(2);
  std::string_view text = r.word(3, "a shape");
  for (size_t d = 0; d < 4; ++d) {
    const size_t end = std::min(text.find('x'), text.size());
    home.desc.shape[d] = r.number(text.substr(0, end), "a shape of four numbers");
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  if (!text.empty()) r.fail("a shape of four numbers", r.line.words[3]);
  r.end(6);
  std::optional<uint64_t> bytes = home.desc.shape[3] / info(home.desc.dtype).block_values * info(home.desc.dtype).block_bytes;
  for (size_t d = 0; d < 3 && bytes; ++d) bytes = checked_mul(*bytes, static_cast<uint64_t>(home.desc.shape[d]));
  const int64_t written = r.number(4, "bytes");
  if (!bytes || *bytes != static_cast<uint64_t>(written))
    r.fail(bytes ? fmt::format("{} bytes for {}", *bytes, r.line.words[3]) : "a shape of this world", r.line.words[4]);
  return home;
}

int64_t read_setting(const LineReader& r, size_t i, std::string_view key) {
  const std::string& word = r.word(i, key);
  if (!word.starts_with(std::string(key) + "=")) r.fail(fmt::format("{}=N", key), printable(word));
  return r.number(std::string_view(word).substr(key.size() + 1), key);
}

}  // namespace

std::string_view name_of(PassResult result) { return result == PassResult::logits ? "logits" : "greedy_ids"; }

std::string to_text(const Plan& plan, const Graph& graph) {
  std::string out = std::string(kHeader) + "\n";
  for (const auto& home : plan.placement.homes)
    out += fmt::format("{:<7} {:<32} {:<5} {:<18} {:>10} {:<10} # {}\n", name_of(home.kind), home.name, name_of(home.desc.dtype),
                       shape_text(home.desc.shape), home.desc.bytes(), home.device, home.because);
  for (const auto& home : plan.placement.homes)
    if (home.is_prepared())
      out += fmt::format("prepare {:<32} {:<10} {} -> {} {}\n", home.name, home.device, name_of(home.desc.dtype), name_of(home.stored),
                         home.prepared_by);
  const auto& shape = plan.shape;
  out += fmt::format("shape   tokens={} outputs={} context={}{}\n", shape.tokens, shape.outputs, shape.context,
                     shape.result == PassResult::logits ? "" : fmt::format(" result={}", name_of(shape.result)));
  for (const auto& step : plan.steps) out += std::visit(StepText{plan, graph}, step);
  for (const auto& [device, m] : plan.memory)
    out += fmt::format("total   {:<10} {} bytes: {} weights, {} state, {} compute\n", device, m.total(), m.weights, m.state, m.arena);
  out += fmt::format("total   boundary   {} copies, {} bytes per step\n", plan.boundary_copies(), plan.boundary_bytes());
  return out;
}

PlanFile parse_plan_file(std::string_view text, const std::string& path) {
  PlanFile file{.path = path};
  uint64_t offset = 0;
  int number = 0;
  bool homes_done = false;
  while (!text.empty()) {
    const size_t end = std::min(text.find('\n'), text.size());
    const std::string_view whole = text.substr(0, end);
    PlanFile::Line line{.offset = offset, .number = ++number};
    const size_t hash = whole.find(" # ");
    std::istringstream words{std::string(whole.substr(0, hash))};
    for (std::string w; words >> w;) line.words.push_back(w);
    const LineReader r{path, line};
    if (number == 1) {
      if (whole != kHeader) r.fail(fmt::format("\"{}\"", kHeader), "\"" + printable(whole) + "\"");
    } else if (!line.words.empty() && line.words[0][0] != '#') {
      const std::string& kind = line.words[0];
      if (kind == "weight" || kind == "state") {
        Home home =
            read_home(r, kind == "weight" ? Kind::weight : Kind::state, hash == std::string_view::npos ? path : std::string(whole.substr(hash + 3)));
        const bool known = std::any_of(file.placement.homes.begin(), file.placement.homes.end(), [&](const Home& h) { return h.name == home.name; });
        if (known != homes_done) r.fail(known ? "one home for each name" : "the names of the first plan of the file", printable(home.name));
        if (!homes_done)
          file.placement.homes.push_back(std::move(home));
        else if (const Home& first = file.placement.of(home.name); first.device != home.device)
          r.fail(fmt::format("{} on {} as in the first plan of the file", home.name, first.device), home.device);
      } else if (kind == "prepare") {
        const auto home = std::find_if(file.placement.homes.begin(), file.placement.homes.end(),
                                       [&](const Home& h) { return h.kind == Kind::weight && h.name == r.word(1, "a name"); });
        if (home == file.placement.homes.end()) r.fail("a weight named above", printable(r.word(1, "a name")));
        r.literal(2, home->device);
        r.literal(3, name_of(home->desc.dtype));
        r.literal(4, "->");
        const DType stored = r.dtype(5);
        if (stored != interleaved(home->desc.dtype)) r.fail(fmt::format("a layout of {}", name_of(home->desc.dtype)), line.words[5]);
        if (homes_done && (home->stored != stored || home->prepared_by != r.word(6, "a kernel")))
          r.fail("what the first plan of the file prepares", line.words[5]);
        home->stored = stored;
        home->prepared_by = r.word(6, "a kernel");
        r.end(7);
      } else if (kind == "shape") {
        homes_done = true;
        PlanShape shape{.tokens = read_setting(r, 1, "tokens"), .outputs = read_setting(r, 2, "outputs"), .context = read_setting(r, 3, "context")};
        if (line.words.size() > 4) {  // plans for logits do not say so
          r.literal(4, fmt::format("result={}", name_of(PassResult::greedy_ids)));
          shape.result = PassResult::greedy_ids;
        }
        r.end(5);
        file.sections.push_back({.shape = shape});
      } else if (kind == "run" || kind == "copy" || kind == "convert") {
        if (file.sections.empty()) r.fail("a shape line before the first step", kind);
        file.sections.back().steps.push_back(line);
      } else if (kind != "total" && whole != kHeader) {
        r.fail("weight, state, prepare, shape, run, copy, convert or total", printable(kind));
      }
    }
    const size_t skip = std::min(end + 1, text.size());
    offset += skip;
    text.remove_prefix(skip);
  }
  if (file.sections.empty())
    throw FileError({.path = path, .offset = offset, .field = "plan", .expected = "a shape line and steps", .found = "the end of the file"});
  return file;
}

bool PlanFile::Section::runs(std::string_view node) const {
  const auto parts = [](std::string_view name) {
    std::vector<std::string_view> out;
    for (size_t plus = name.find('+'); plus != std::string_view::npos; plus = name.find('+')) {
      out.push_back(name.substr(0, plus));
      name.remove_prefix(plus + 1);
    }
    out.push_back(name);
    return out;
  };
  // "blk.0.attn_k+add_bias" is a stretch of "blk.0.attn_q+add_bias+attn_k+add_bias", which has only the last part of its name.
  const auto wanted = parts(node);
  const size_t scope = wanted[0].rfind('.') + 1;
  return std::any_of(steps.begin(), steps.end(), [&](const Line& l) {
    if (l.words[0] != "run" || l.words.size() < 2) return false;
    const auto found = parts(l.words[1]);
    if (found[0].substr(0, found[0].rfind('.') + 1) != wanted[0].substr(0, scope)) return false;
    for (size_t at = 0; at + wanted.size() <= found.size(); ++at)
      if ((at == 0 ? found[0] == wanted[0] : found[at] == wanted[0].substr(scope)) &&
          std::equal(wanted.begin() + 1, wanted.end(), found.begin() + static_cast<std::ptrdiff_t>(at) + 1))
        return true;
    return false;
  });
}

void check_homes(const PlanFile& file, const Graph& graph) {
  const auto refuse = [&](const std::string& field, std::string expected, std::string found) {
    throw FileError({.path = file.path,
                     .field = field,
                     .expected = std::move(expected),
                     .found = std::move(found),
                     .hint = "was the plan made for another model or -c?"});
  };
  for (const auto& value : graph.values()) {
    if (value.kind != Kind::weight && value.kind != Kind::state) continue;
    const auto home = std::find_if(file.placement.homes.begin(), file.placement.homes.end(), [&](const Home& h) { return h.name == value.name; });
    if (home == file.placement.homes.end()) refuse(value.name, "a home", "none");
    if (home->desc != value.desc) refuse(value.name, to_text(value.desc), to_text(home->desc));
  }
  for (const auto& home : file.placement.homes) {
    const auto value = graph.lookup(home.name);
    if (!value || graph[*value].kind != home.kind)
      refuse(printable(home.name), fmt::format("the name of a {}", name_of(home.kind)), "no such in the model");
  }
}

Plan plan_from_section(const PlanFile& file, const PlanFile::Section& section, const Graph& graph, const Registry& registry,
                       const KernelPolicy& policy) {
  check_homes(file, graph);
  for (const auto& home : file.placement.homes) {
    if (!home.is_prepared()) continue;
    const Kernel* k = registry.find(home.prepared_by);
    const std::string why = k ? registry.why_not(*k, problem(Convert{.to = home.stored}, {home.desc}), policy, "convert") : "no such kernel";
    if (!why.empty())
      throw FileError({.path = file.path,
                       .field = "prepare " + home.name,
                       .expected = fmt::format("a kernel that converts {} to {}", name_of(home.desc.dtype), name_of(home.stored)),
                       .found = fmt::format("{}: {}", printable(home.prepared_by), why)});
  }
  PlanBuilder b(graph, file.placement, section.shape, registry, policy);
  for (const auto& line : section.steps) {
    const LineReader r{file.path, line};
    const auto kernel = [&](size_t i) -> const Kernel& {
      const Kernel* k = registry.find(r.word(i, "a kernel"));
      if (!k) r.fail("the name of a kernel", printable(line.words[i]));
      return *k;
    };
    try {
      const std::string& name = r.word(1, "a name");
      if (line.words[0] == "copy") {
        r.literal(3, "->");
        r.end(6);
        b.copy(graph.find(name), r.word(2, "a device"), r.word(4, "a device"));
        const int64_t bytes = graph[graph.find(name)].desc.bytes();
        if (r.number(5, "bytes") != bytes) r.fail(fmt::format("{} bytes", bytes), line.words[5]);
      } else if (line.words[0] == "convert") {
        r.literal(3, name_of(graph[graph.find(name)].desc.dtype));
        r.literal(4, "->");
        r.end(7);
        b.convert(graph.find(name), r.dtype(5), r.word(2, "a device"), kernel(6));
      } else {
        const auto index = b.next_node();
        if (!index || graph.nodes()[*index].name != name)
          r.fail(index ? "run " + graph.nodes()[*index].name : "no further step", "run " + printable(name));
        const Kernel& k = kernel(3);
        std::optional<DType> writes;
        if (line.words.size() > 4) {
          r.literal(4, "->");
          writes = r.dtype(5);
          r.end(6);
        }
        // The format this kernel reads: as the planner does, the first of the allowed that it accepts, of those that are there.
        std::optional<DType> activation;
        const Node& node = graph.nodes()[*index];
        for (const DType t : policy.activations) {
          auto p = problem_of(graph, node, t, file.placement);
          if (p && writes) p->out[0].dtype = *writes;
          const bool there = !reads_formats(node.op) || b.find(node.in[0], r.word(2, "a device"), t);
          if (!activation && there && p && registry.why_not(k, *p, policy, name).empty()) activation = t;
        }
        b.run(*index, r.word(2, "a device"), k, activation.value_or(DType::f32), writes);
      }
    } catch (const FileError&) {
      throw;
    } catch (const Error& e) {
      r.fail("a step that can be executed", e.message);
    }
  }
  try {
    return b.finish();
  } catch (const Error& e) {
    throw FileError({.path = file.path, .field = fmt::format("plan for {} tokens", section.shape.tokens), .found = e.message});
  }
}

}  // namespace kerf
