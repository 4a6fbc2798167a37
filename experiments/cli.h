// The command line: parsing only. What a command does is in its own file.
#pragma once
#include <functional>
#include <string>
#include <vector>

#include "experiments/args.h"

namespace kerf {

struct Command {
  CommonArgs common{};
  std::function<int(const struct Io&)> run{};
};

/// @throws Error(usage) for anything the commands do not take; the hint names the nearest known option.
Command parse_command_line(const std::vector<std::string>& words);

}  // namespace kerf
