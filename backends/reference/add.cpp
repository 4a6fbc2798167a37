// add: out = a + b, b repeated for every row if it has only one. One rounding, so every kernel must give these bits.
#include "core/kernel.h"

namespace kerf::reference {
namespace {

void run(const Problem&, const Call& call) {
  const auto &a = call.in[0], &b = call.in[1], &out = call.out[0];
  for (int64_t t = 0; t < a.desc.rows(); ++t)
    for (int64_t e = 0; e < a.desc.cols(); ++e)
      out.row<float>(t)[e] = static_cast<float>(double(a.row<const float>(t)[e]) + b.row<const float>(b.desc.rows() == 1 ? 0 : t)[e]);
}

}  // namespace

void add(Registry::Adder registry) {
  registry.add({.op = Add::name, .note = "the definition", .accepts = [](const Problem&) { return Support{}; }, .run = run});
}

}  // namespace kerf::reference
