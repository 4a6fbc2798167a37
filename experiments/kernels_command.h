// What the actions of `kerf kernels` share.
#pragma once
#include <string_view>
#include <vector>

#include "experiments/commands.h"

namespace kerf {

/// Whether one of the words is part of the name; without words every name matches.
bool name_matches(std::string_view name, const std::vector<std::string>& words);
/// @throws Error(usage) saying that no kernel has one of the words in its name
[[noreturn]] void no_name_matches(const KernelArgs& args);

int kernels_launches(const KernelArgs& args, const Registry& registry, const Io& io);
int kernels_bench(const KernelArgs& args, const Registry& registry, const Io& io);

}  // namespace kerf
