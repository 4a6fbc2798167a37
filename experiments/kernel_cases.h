// The problems every kernel is tried on: one table per op, the same for all backends.
#pragma once
#include <string_view>
#include <vector>

#include "experiments/kernel_data.h"

namespace kerf {

struct KernelCase {
  Problem problem{};
  DataKind data = DataKind::normal;
  int64_t depth = -1;    // make_inputs' depth
  bool threads = false;  // also compared over 1, 2, 3 and 8 threads
};

/// All cases of one op, in an order that does not change with what is built: `--case I` is the I-th.
std::vector<KernelCase> kernel_cases(std::string_view op);

/// Names of all ops, in the order of core/op.h.
std::vector<std::string_view> op_names();

}  // namespace kerf
