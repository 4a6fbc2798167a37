// The only place where the process as such is touched: signals, streams, exit codes. Nothing else is global.
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <clocale>
#include <csignal>
#include <exception>
#include <new>
#include <string>
#include <vector>

#include "core/error.h"
#include "experiments/cli.h"
#include "experiments/commands.h"
#include "experiments/io.h"

namespace kerf {
namespace {

volatile std::sig_atomic_t stop_asked = 0;

void on_interrupt(int) { stop_asked = 1; }

std::string joined(const std::vector<std::string>& words) {
  std::string line = "kerf";
  for (const auto& w : words) line += " " + w;
  return line;
}

}  // namespace

bool interrupted() { return stop_asked != 0; }

void stop_if_interrupted() {
  if (interrupted()) throw Error(ErrorKind::interrupted, "interrupted");
}

}  // namespace kerf

int main(int argc, char** argv) {
  using namespace kerf;
  std::setlocale(LC_NUMERIC, "C");
  struct sigaction action {};
  action.sa_handler = on_interrupt;
  action.sa_flags = static_cast<int>(SA_RESETHAND);  // the second one ends at once; no SA_RESTART: it also ends waiting for input
  sigaction(SIGINT, &action, nullptr);
  std::signal(SIGPIPE, SIG_IGN);  // a reader that went away, or a file over its size limit, is an error of write(), not a death
  std::signal(SIGXFSZ, SIG_IGN);
  const std::vector<std::string> words(argv + 1, argv + argc);
  const bool json = std::find(words.begin(), words.end(), "--json") != words.end();
  Io io = make_io(json, 1, joined(words));
  try {
    const Command command = parse_command_line(words);
    io = make_io(command.common.json, command.common.verbosity, joined(words));
    return command.run(io);
  } catch (const Error& e) {
    return report(e, io);
  } catch (const std::bad_alloc&) {
    return report(Error(ErrorKind::memory, "out of memory", "", "use a smaller -c or -ub"), io);
  } catch (const std::exception& e) {
    return report(Error(ErrorKind::runtime, e.what()), io);
  }
}
