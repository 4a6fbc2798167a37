// A graph of two layers and the means to plan it, for tests of placement and plans without a model file.
#pragma once
#include "core/plan.h"

namespace kerf::test {

/// tokens -> rows(embed) -> two times { matmul blk.N.w, add } -> matmul output.
Graph toy_graph(int64_t tokens = 3);
const Registry& reference_kernels();
KernelPolicy reference_policy();

}  // namespace kerf::test
