// kerf bench: prompt processing (pp) and generation (tg) at depth, with llama-bench's row names and JSON fields.
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
#include "experiments/version.h"

namespace kerf {
namespace {

using Clock = std::chrono::steady_clock;

struct Test {
  int threads = 0;
  int64_t prompt = 0, gen = 0, depth = 0;
};

struct Row {
  Test test{};
  std::string time{};  // start, ISO 8601, UTC
  std::vector<int64_t> samples_ns{};
  int64_t bytes = 0;  // moved by one repetition at least (core/cost.h)
  std::string name() const {
    const std::string head = test.prompt > 0 ? fmt::format("pp{}", test.prompt) : fmt::format("tg{}", test.gen);
    return test.depth > 0 ? fmt::format("{} @ d{}", head, test.depth) : head;
  }
  int64_t tokens() const { return test.prompt > 0 ? test.prompt : test.gen; }
};

struct Spread {
  double mean = 0, stddev = 0;
};
Spread spread(const std::vector<double>& v) {
  double mean = 0, square = 0;
  for (const double x : v) mean += x / static_cast<double>(v.size());
  for (const double x : v) square += (x - mean) * (x - mean);
  return {mean, v.size() > 1 ? std::sqrt(square / static_cast<double>(v.size() - 1)) : 0};
}

std::string now_utc() {
  const std::time_t t = std::time(nullptr);
  std::tm utc{};
  gmtime_r(&t, &utc);
  char text[32];
  return {text, std::strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", &utc)};
}

int64_t total_bytes(const Plan& plan, int64_t depth) {
  int64_t sum = 0;
  for (const auto& [id, bytes] : bytes_per_pass(plan, depth)) sum += bytes;
  return sum;
}

Row measure(Session& session, const Test& test, int repetitions) {
  Row row{.test = test, .time = now_utc()};
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
  once();  // pages in, plans made, cores awake: not counted
  for (int r = 0; r < repetitions; ++r) row.samples_ns.push_back(once());
  if (test.prompt > 0) {
    for (int64_t done = 0; done < test.prompt; done += session.micro_batch())
      row.bytes += total_bytes(*session.planned(std::min(session.micro_batch(), test.prompt - done), 1).plan, test.depth + done);
  } else {
    const Plan& plan = *session.planned(1, 1).plan;
    row.bytes = test.gen * (total_bytes(plan, test.depth) + total_bytes(plan, test.depth + test.gen - 1)) / 2;  // linear in depth
  }
  return row;
}

nlohmann::json to_json(const Row& row, const BenchArgs& args, const Session& session) {
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
  return {{"build_commit", KERF_VERSION},
          {"backends", args.model.backend},
          {"isa", name_of(session.policy().isa)},
          {"model_filename", args.model.model},
          {"model_type", session.model().hparams().architecture},
          {"model_size", size},
          {"model_n_params", parameters},
          {"n_ubatch", session.micro_batch()},
          {"n_threads", row.test.threads},
          {"type_k", name_of(session.k_type())},
          {"type_v", name_of(session.v_type())},
          {"n_gpu_layers", args.model.gpu_layers.value_or(0)},
          {"use_mmap", !args.model.no_mmap},
          {"n_prompt", row.test.prompt},
          {"n_gen", row.test.gen},
          {"n_depth", row.test.depth},
          {"test_time", row.time},
          {"avg_ns", time.mean},
          {"stddev_ns", time.stddev},
          {"avg_ts", speed.mean},
          {"stddev_ts", speed.stddev},
          {"samples_ns", row.samples_ns},
          {"samples_ts", speeds},
          {"bytes", row.bytes},
          {"gb_per_s", static_cast<double>(row.bytes) / time.mean}};
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
    line += (line.empty() ? "" : ",") + (header ? key : value.is_string() ? csv_cell(value.get<std::string>()) : one_line(value));
  }
  return line + "\n";
}

}  // namespace

int bench_command(const BenchArgs& args, const Io& io) {
  std::vector<Test> tests;
  const std::vector<int> threads = args.threads.empty() ? std::vector<int>{usable_cores()} : args.threads;
  int64_t longest = 1;
  for (const int t : threads)
    for (const int64_t d : args.n_depth) {
      for (const int64_t p : args.n_prompt)
        if (p > 0) tests.push_back({t, p, 0, d});
      for (const int64_t n : args.n_gen)
        if (n > 0) tests.push_back({t, 0, n, d});
    }
  if (tests.empty()) throw Error(ErrorKind::usage, "nothing is asked for: -p and -n are 0", "kerf bench");
  for (const auto& t : tests) longest = std::max(longest, t.depth + t.prompt + t.gen);
  if (args.model.context.value_or(0) != 0 && *args.model.context < longest)
    throw Error(ErrorKind::memory, fmt::format("the longest test needs {} positions, -c gives {}", longest, *args.model.context), "-c",
                "leave it out");
  const Registry registry = all_kernels();
  if (io.json && !args.output.empty() && args.output != "json")
    throw Error(ErrorKind::usage, "--json asks for another form", "-o " + args.output, "leave one out");
  const std::string output = io.json ? "json" : args.output.empty() ? "md" : args.output;
  nlohmann::json all = nlohmann::json::array();
  std::unique_ptr<LiveSession> live;
  bool first = true;
  for (const auto& test : tests) {
    if (!live || (**live).threads() != test.threads) {
      live.reset();
      SessionOptions options = session_options(args.model);
      options.threads = test.threads;
      options.context = std::max(longest, args.model.context.value_or(0));
      live = std::make_unique<LiveSession>(std::move(options), registry, io);
    }
    Session& session = **live;
    const Row row = measure(session, test, args.repetitions);
    const auto j = to_json(row, args, session);
    if (output == "md") {
      if (first)
        io.out(
            fmt::format("| {:<28} | {:>10} | {:>8} | {:<10} | {:>7} | {:>16} | {:>18} | {:>8} |\n| ---------------------------- | ---------: | "
                        "-------: | ---------- | ------: | ---------------: | -----------------: | -------: |\n",
                        "model", "size", "params", "backend", "threads", "test", "t/s", "GB/s"));
      io.out(fmt::format("| {:<28} | {:>10} | {:>6.2f} M | {:<10} | {:>7} | {:>16} | {:>18} | {:>8.2f} |\n", session.model().hparams().architecture,
                         human_bytes(j["model_size"]), static_cast<double>(j["model_n_params"]) * 1e-6, args.model.backend, test.threads, row.name(),
                         fmt::format("{:.2f} ± {:.2f}", j["avg_ts"].get<double>(), j["stddev_ts"].get<double>()), j["gb_per_s"].get<double>()));
    } else if (output == "csv") {
      if (first) io.out(csv_line(j, true));
      io.out(csv_line(j, false));
    } else if (output == "jsonl") {
      io.out(one_line(j) + "\n");
    }
    all.push_back(j);
    first = false;
  }
  if (output == "json") io.out_json(all);
  return 0;
}

}  // namespace kerf
