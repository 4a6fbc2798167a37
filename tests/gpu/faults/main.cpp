// Runs kernels with a planted fault, each in a process of its own, and says how it was found:
//   test_faults --build plain|asan|tsan|msan [--run N]     all, or fault N; fails if one is missed that this build must find,
//                                                          or if a correct kernel (N = 0) gives a report
//   test_faults --list                                     the table of backends/gpu/README.md
#include <fmt/format.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cstdio>
#include <cstdlib>

#include "backends/gpu/simt/queue.h"
#include "core/error.h"
#include "core/threadpool.h"
#include "tests/gpu/faults/faults.h"

extern char** environ;

namespace kerf {
namespace {

constexpr int kWrongValue = 10, kMessage = 11;

std::vector<Fault> all_faults() {
  std::vector<Fault> all;
  const auto take = [&](std::vector<Fault> some, bool wide) {
    for (const Fault& f : some)
      if (f.number == 0 || f.wide == wide) all.push_back(f);
  };
  for (auto* part : {emu::block_faults, emu::warp_faults, emu::tile_faults}) take(part(), false);
  for (auto* part : {emu64::block_faults, emu64::warp_faults, emu64::tile_faults}) take(part(), true);
  return all;
}

/// In the child: the fault under three orders of threads and blocks. Results are exact, so each of them must be right.
int run_here(const Fault& fault) {
  using simt::Schedule;
  for (const simt::Order order : {simt::Order{Schedule::forward}, {Schedule::reverse}, {Schedule::random, 3}})
    for (const int threads : {1, 2}) {
      simt::Queue queue({.order = order});
      ThreadPool pool(threads);
      try {
        if (!fault.run({.pool = pool, .queue = &queue})) {
          constexpr std::array kNames{"forward", "reverse", "random"};
          fmt::print("wrong value ({}, {} OS threads)\n", kNames[static_cast<size_t>(order.schedule)], threads);
          return kWrongValue;
        }
      } catch (const Error& e) {
        fmt::print("message \"{}\"\n", e.message);
        return kMessage;
      }
    }
  return 0;
}

struct Outcome {
  int status = 0;
  std::string output;
};
Outcome run_child(const std::string& program, size_t index) {
  const std::string number = std::to_string(index);
  std::array<char*, 4> arguments{const_cast<char*>(program.c_str()), const_cast<char*>("--child"), const_cast<char*>(number.c_str()), nullptr};
  int ends[2];
  if (pipe(ends) != 0) throw Error(ErrorKind::runtime, "no pipe");
  posix_spawn_file_actions_t files;
  posix_spawn_file_actions_init(&files);
  posix_spawn_file_actions_adddup2(&files, ends[1], 1);
  posix_spawn_file_actions_adddup2(&files, ends[1], 2);
  posix_spawn_file_actions_addclose(&files, ends[0]);
  pid_t child = 0;
  const int failed = posix_spawn(&child, program.c_str(), &files, nullptr, arguments.data(), environ);
  posix_spawn_file_actions_destroy(&files);
  close(ends[1]);
  Outcome outcome;
  std::array<char, 4096> part{};
  for (ssize_t n = 0; !failed && (n = read(ends[0], part.data(), part.size())) > 0;) outcome.output.append(part.data(), static_cast<size_t>(n));
  close(ends[0]);
  if (failed || waitpid(child, &outcome.status, 0) != child) throw Error(ErrorKind::runtime, "cannot run " + program);
  return outcome;
}

/// The rest of the first line that has `mark`, from there on; empty if none has.
std::string line_with(const std::string& text, std::string_view mark) {
  const size_t at = text.find(mark);
  return at == std::string::npos ? "" : text.substr(at, text.find('\n', at) - at);
}

/// How the fault was found; empty: it was not.
std::string finding(const Outcome& o) {
  for (const std::string_view mark : {"SUMMARY: ", "runtime error: ", "Sanitizer: "})
    if (const auto line = line_with(o.output, mark); !line.empty()) return line;
  if (WIFSIGNALED(o.status)) return fmt::format("signal {}", WTERMSIG(o.status));
  const int code = WEXITSTATUS(o.status);
  if (code == 0) return "";
  return code == kWrongValue || code == kMessage ? o.output.substr(0, o.output.find('\n')) : fmt::format("exit code {}", code);
}

constexpr std::array<std::pair<std::string_view, Build>, 4> kBuilds{{{"plain", plain}, {"asan", asan}, {"tsan", tsan}, {"msan", msan}}};

void list() {
  fmt::print("| # | kernel | fault | plain | ASan, UBSan | TSan | MSan |\n| --- | --- | --- | --- | --- | --- | --- |\n");
  for (const Fault& f : all_faults()) {
    if (f.number == 0) continue;
    fmt::print("| {} | {} | {} |", f.number, f.kernel, f.what);
    for (const auto& [name, build] : kBuilds) fmt::print(" {} |", f.found_by & build ? "found" : "");
    fmt::print("\n");
  }
}

int run_all(const std::string& program, Build build, int only) {
  const auto faults = all_faults();
  int planted = 0, found = 0, expected = 0, failed = 0;
  for (size_t i = 0; i < faults.size(); ++i) {
    const Fault& f = faults[i];
    if (only >= 0 && f.number != only) continue;
    const std::string how = finding(run_child(program, i));
    const bool wrong = f.number == 0 ? !how.empty() : (f.found_by & build) && how.empty();
    planted += f.number != 0;
    found += f.number != 0 && !how.empty();
    expected += f.number != 0 && (f.found_by & build);
    failed += wrong || (f.number != 0 && f.found_by == 0);
    fmt::print("{}{:>3} {:<16} {:<80} {}\n", wrong ? "FAILED " : "", f.number, f.kernel, f.number ? f.what : "correct",
               how.empty() ? (f.number ? "not found" : "no report") : how);
  }
  fmt::print("{} of {} faults found; this build must find {}; {} failed\n", found, planted, expected, failed);
  return failed || (planted == 0 && only != 0) ? 1 : 0;
}

int run(std::span<char*> arguments, const std::string& program) {
  const auto value = [&](std::string_view name) -> std::string_view {
    for (size_t i = 0; i + 1 < arguments.size(); ++i)
      if (arguments[i] == name) return arguments[i + 1];
    return {};
  };
  if (const auto child = value("--child"); !child.empty()) return run_here(all_faults().at(static_cast<size_t>(std::atoi(child.data()))));
  if (!arguments.empty() && arguments[0] == std::string_view("--list")) return list(), 0;
  setenv("TSAN_OPTIONS", "halt_on_error=1", 0);
  for (const auto& [name, build] : kBuilds)
    if (value("--build") == name) return run_all(program, build, value("--run").empty() ? -1 : std::atoi(value("--run").data()));
  throw Error(ErrorKind::usage, "--list, or --build plain|asan|tsan|msan [--run N]");
}

}  // namespace
}  // namespace kerf

int main(int argc, char** argv) {
  try {
    return kerf::run({argv + 1, argv + argc}, argv[0]);
  } catch (const kerf::Error& e) {
    std::fprintf(stderr, "error: %s\n", e.what());
    return static_cast<int>(e.kind);
  }
}
