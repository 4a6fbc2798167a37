// kerf bench: prompt processing (pp) and generation (tg) at depth, with llama-bench's row names and JSON fields, and how far
// below the roof of this machine each row is.
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <ctime>
#include <nlohmann/json.hpp>
#include <random>

#include "core/error.h"
#include "core/text.h"
#include "experiments/commands.h"
#include "experiments/roof.h"
#include "experiments/version.h"

namespace kerf {
namespace {

using Clock = std::chrono::steady_clock;

/// What a session is made for; tests of one setup share it.
struct Setup {
  std::string k{}, v{};  // as written; empty: the default
  int64_t micro_batch = 0;
  int threads = 0;
  bool operator==(const Setup&) const = default;
};
struct Test {
  Setup setup{};
  int64_t prompt = 0, gen = 0, depth = 0;
};

struct Row {
  Test test{};
  std::string time{};  // start, ISO 8601, UTC
  double load = 0;     // average of the minute before
  std::vector<int64_t> samples_ns{};
  Work work{};  // of one repetition, at least (core/cost.h)
  std::string name() const {
    const std::string head = test.prompt > 0 ? fmt::format("pp{}", test.prompt) : fmt::format("tg{}", test.gen);
    return test.depth > 0 ? fmt::format("{} @ d{}", head, test.depth) : head;
  }
  int64_t tokens() const { return test.prompt > 0 ? test.prompt : test.gen; }
};

struct Spread {
  double mean = 0, stddev = 0, median = 0, min = 0, max = 0;
};
Spread spread(std::vector<double> v) {
  Spread s;
  double square = 0;
  for (const double x : v) s.mean += x / static_cast<double>(v.size());
  for (const double x : v) square += (x - s.mean) * (x - s.mean);
  s.stddev = v.size() > 1 ? std::sqrt(square / static_cast<double>(v.size() - 1)) : 0;
  std::sort(v.begin(), v.end());
  s.median = (v[(v.size() - 1) / 2] + v[v.size() / 2]) / 2;
  s.min = v.front();
  s.max = v.back();
  return s;
}

std::string now_utc() {
  const std::time_t t = std::time(nullptr);
  std::tm utc{};
  gmtime_r(&t, &utc);
  char text[32];
  return {text, std::strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", &utc)};
}

Row measure(Session& session, const Test& test, int repetitions) {
  Row row{.test = test, .time = now_utc(), .load = load_average().one};
  std::mt19937 rng(1);  // which tokens does not matter for dense models; the same ones each time does
  std::vector<int32_t> tokens(static_cast<size_t>(std::max({test.prompt, test.depth, int64_t{1}})));
  for (auto& t : tokens) t = static_cast<int32_t>(rng() % static_cast<uint32_t>(session.n_vocab()));
  const auto once = [&] {
    session.rewind(test.depth);
    const auto start = Clock::now();
    if (test.prompt > 0) session.forward({tokens.data(), static_cast<size_t>(test.prompt)});
    for (int64_t i = 0; i < test.gen && test.prompt == 0; ++i) session.forward({tokens.data() + static_cast<size_t>(i) % tokens.size(), 1});
    return std::chrono::duration_cast<std::chrono::nanoseconds>(Clock::now() - start).count();
  };
  session.rewind(0);
  if (test.depth > 0) session.forward({tokens.data(), static_cast<size_t>(test.depth)});
  session.checkpoint();  // where every repetition begins
  once();                // pages in, plans made, cores awake: not counted
  for (int r = 0; r < repetitions; ++r) row.samples_ns.push_back(once());
  row.work = test.prompt > 0 ? prompt_work(session, test.depth, test.prompt) : decode_work(session, test.depth, test.gen);
  return row;
}

nlohmann::json to_json(const Row& row, const BenchArgs& args, const Session& session, const std::string& cpu, const RoofFigures* roof) {
  std::vector<double> speeds, times;
  for (const int64_t ns : row.samples_ns) {
    times.push_back(static_cast<double>(ns));
    speeds.push_back(static_cast<double>(row.tokens()) * 1e9 / static_cast<double>(ns));
  }
  const Spread speed = spread(speeds), time = spread(times);
  int64_t size = 0, parameters = 0;
  for (const auto& t : session.file().tensors()) {
    size += t.desc.bytes();
    parameters += t.desc.size();
  }
  nlohmann::json j{{"build_commit", KERF_VERSION},
                   {"cpu_info", cpu},
                   {"backends", args.model.backend},
                   {"isa", name_of(session.policy().isa)},
                   {"model_filename", args.model.model},
                   {"model_type", session.model().hparams().architecture},
                   {"model_size", size},
                   {"model_n_params", parameters},
                   {"n_batch", args.model.batch},
                   {"n_ubatch", session.micro_batch()},
                   {"n_threads", row.test.setup.threads},
                   {"type_k", name_of(session.k_type())},
                   {"type_v", name_of(session.v_type())},
                   {"n_gpu_layers", args.model.gpu_layers.value_or(0)},
                   {"use_mmap", !args.model.no_mmap},
                   {"repack", !args.model.no_repack},
                   {"repack_experts", args.model.repack_experts},
                   {"n_prompt", row.test.prompt},
                   {"n_gen", row.test.gen},
                   {"n_depth", row.test.depth},
                   {"test_time", row.time},
                   {"load_average", row.load},
                   {"avg_ns", time.mean},
                   {"stddev_ns", time.stddev},
                   {"median_ns", time.median},
                   {"min_ns", time.min},
                   {"max_ns", time.max},
                   {"avg_ts", speed.mean},
                   {"stddev_ts", speed.stddev},
                   {"median_ts", speed.median},
                   {"min_ts", speed.min},
                   {"max_ts", speed.max},
                   {"samples_ns", row.samples_ns},
                   {"samples_ts", speeds},
                   {"bytes", row.work.bytes},
                   {"flops", row.work.flops},
                   {"gb_per_s", static_cast<double>(row.work.bytes) / time.mean},
                   {"gflop_per_s", static_cast<double>(row.work.flops) / time.mean}};
  add_roof_fields(j, roof, roof_shares(roof, row.work, time.mean * 1e-9));
  return j;
}

/// RFC 4180: in quotes, quotes doubled.
std::string csv_cell(const std::string& text) {
  std::string cell = "\"";
  for (const char c : text) cell += c == '"' ? "\"\"" : std::string(1, c);
  return cell + "\"";
}

std::string csv_line(const nlohmann::json& row, bool header) {
  std::string line;
  for (const auto& [key, value] : row.items()) {
    if (value.is_array()) continue;
    const std::string cell = value.is_null() ? "" : value.is_string() ? csv_cell(value.get<std::string>()) : one_line(value);
    line += (line.empty() ? "" : ",") + (header ? key : cell);
  }
  return line + "\n";
}

/// The table for people: llama-bench's columns, those of lists only where they were asked for, then the share of the roof.
class Table {
 public:
  explicit Table(const BenchArgs& args) : args_(args) {
    for (const auto& [name, width] : std::initializer_list<std::pair<const char*, size_t>>{{"model", 10},
                                                                                           {"size", 10},
                                                                                           {"params", 9},
                                                                                           {"backend", 7},
                                                                                           {"threads", 7},
                                                                                           {"n_ubatch", 8},
                                                                                           {"type_k", 6},
                                                                                           {"type_v", 6},
                                                                                           {"test", 16},
                                                                                           {"t/s", 18},
                                                                                           {"GB/s", 7},
                                                                                           {"% read", 6},
                                                                                           {"GFLOP/s", 8},
                                                                                           {"% unit", 6},
                                                                                           {"% peak", 6}})
      if (is_shown(name)) columns_.push_back({name, width});
  }
  std::string head() const {
    std::string rule = "|";
    std::map<std::string, std::string> names;
    for (const auto& c : columns_) {
      names[c.name] = c.name;
      rule += fmt::format(" {:-<{}}: |", "", c.width - 1);
    }
    return line(names) + rule + "\n";
  }
  std::string row(const Row& r, const nlohmann::json& j) const {
    const auto number = [&](const char* key) { return fmt::format("{:.2f}", j[key].get<double>()); };
    const auto percent = [&](const char* key) { return percent_text(j[key].is_null() ? std::nullopt : std::optional(j[key].get<double>())); };
    return line({{"model", j["model_type"]},
                 {"size", human_bytes(j["model_size"])},
                 {"params", fmt::format("{:.2f} M", j["model_n_params"].get<double>() * 1e-6)},
                 {"backend", j["backends"]},
                 {"threads", fmt::format("{}", r.test.setup.threads)},
                 {"n_ubatch", fmt::format("{}", j["n_ubatch"].get<int64_t>())},
                 {"type_k", j["type_k"]},
                 {"type_v", j["type_v"]},
                 {"test", r.name()},
                 {"t/s", fmt::format("{} ± {}", number("avg_ts"), number("stddev_ts"))},
                 {"GB/s", number("gb_per_s")},
                 {"% read", percent("percent_read")},
                 {"GFLOP/s", number("gflop_per_s")},
                 {"% unit", percent("percent_unit")},
                 {"% peak", percent("percent_peak")}});
  }

 private:
  struct Column {
    std::string name;
    size_t width;
  };
  bool is_shown(std::string_view name) const {
    if (name == "n_ubatch") return !args_.micro_batch.empty();
    if (name == "type_k") return !args_.ctk.empty();
    if (name == "type_v") return !args_.ctv.empty();
    return true;
  }
  std::string line(const std::map<std::string, std::string>& cells) const {
    std::string text = "|";
    for (const auto& c : columns_) text += fmt::format(" {:>{}} |", cells.at(c.name), c.width);
    return text + "\n";
  }

  const BenchArgs& args_;
  std::vector<Column> columns_;
};

/// All combinations, setups outermost, so that a session is made once for each.
std::vector<Test> tests_of(const BenchArgs& args) {
  std::vector<Test> tests;
  const auto or_one = [](auto list, auto otherwise) { return list.empty() ? decltype(list){otherwise} : list; };
  for (const auto& k : or_one(args.ctk, std::string()))
    for (const auto& v : or_one(args.ctv, std::string()))
      for (const int64_t ub : or_one(args.micro_batch, args.model.micro_batch))
        for (const int t : or_one(args.threads, usable_cores()))
          for (const int64_t d : args.n_depth) {
            const Setup setup{.k = k, .v = v, .micro_batch = ub, .threads = t};
            for (const int64_t p : args.n_prompt)
              if (p > 0) tests.push_back({setup, p, 0, d});
            for (const int64_t n : args.n_gen)
              if (n > 0) tests.push_back({setup, 0, n, d});
          }
  if (tests.empty()) throw Error(ErrorKind::usage, "nothing is asked for: -p and -n are 0", "kerf bench");
  return tests;
}

SessionOptions options_of(const BenchArgs& args, const Setup& setup, int64_t longest) {
  ModelArgs model = args.model;
  model.ctk = setup.k;
  model.ctv = setup.v;
  model.micro_batch = setup.micro_batch;
  model.threads = setup.threads;
  SessionOptions options = session_options(model);
  options.context = std::max(longest, args.model.context.value_or(0));
  return options;
}

/// Said below the table: under which load, and against which roof.
std::string footnote(double load, const std::optional<Roof>& roof) {
  std::string text = fmt::format("\nload average before the run: {:.2f}", load);
  if (!roof) return text + "\n";
  for (const auto& f : roof->figures)
    text += fmt::format("\nroof with {} thread{}: read {:.1f} GB/s, {} {:.0f} GFLOP/s", f.threads, f.threads == 1 ? "" : "s", f.read,
                        unit_text(f.peak().first), f.peak().second);
  return text + fmt::format(
                    "\n% read: bytes per second, of the read bandwidth; % unit: of what the units in use could do; % peak: of the fastest "
                    "unit (kerf roof, {})\n",
                    roof->date);
}

}  // namespace

int bench_command(const BenchArgs& args, const Io& io) {
  const std::vector<Test> tests = tests_of(args);
  int64_t longest = 1;
  for (const auto& t : tests) longest = std::max(longest, t.depth + t.prompt + t.gen);
  if (args.model.context.value_or(0) != 0 && *args.model.context < longest)
    throw Error(ErrorKind::memory, fmt::format("the longest test needs {} positions, -c gives {}", longest, *args.model.context), "-c",
                "leave it out");
  if (io.json && !args.output.empty() && args.output != "json")
    throw Error(ErrorKind::usage, "--json asks for another form", "-o " + args.output, "leave one out");
  const std::string output = io.json ? "json" : args.output.empty() ? "md" : args.output;
  for (size_t i = 0; i < tests.size(); ++i)
    if (i == 0 || tests[i].setup != tests[i - 1].setup) options_of(args, tests[i].setup, longest);  // a wrong word is said before hours of work
  const Registry registry = all_kernels();
  const double load = load_average().one;
  const std::string cpu = identify_machine().cpu;
  std::string missing;
  const auto roof = find_roof(args.roof, missing);
  const Table table(args);
  nlohmann::json all = nlohmann::json::array();
  std::unique_ptr<LiveSession> live;
  std::optional<Setup> setup;
  for (const auto& test : tests) {
    if (setup != test.setup) {
      live.reset();
      live = std::make_unique<LiveSession>(options_of(args, test.setup, longest), registry, io);
      setup = test.setup;
      if (roof && !roof->with_threads(test.setup.threads)) missing = no_roof_with(test.setup.threads);
    }
    const RoofFigures* figures = roof ? roof->with_threads(test.setup.threads) : nullptr;
    const Row row = measure(**live, test, args.repetitions);
    const auto j = to_json(row, args, **live, cpu, figures);
    if (output == "md") io.out((all.empty() ? table.head() : "") + table.row(row, j));
    if (output == "csv") io.out((all.empty() ? csv_line(j, true) : "") + csv_line(j, false));
    if (output == "jsonl") io.out(one_line(j) + "\n");
    all.push_back(j);
  }
  if (output == "md") io.out(footnote(load, roof));
  if (output == "json") io.out_json(all);
  if (!missing.empty()) io.log->warn("{}", missing);
  return 0;
}

}  // namespace kerf
