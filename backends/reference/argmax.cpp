// argmax: the place of the largest value of a row, the first of equal ones; ~place of the first value that is not finite.
#include <algorithm>
#include <cmath>

#include "core/kernel.h"

namespace kerf::reference {
namespace {

void run(const Problem& p, const Call& call) {
  for (int64_t t = 0; t < p.in[0].rows(); ++t) {
    const float *begin = call.in[0].row<const float>(t), *end = begin + p.in[0].cols();
    const float* bad = std::find_if(begin, end, [](float x) { return !std::isfinite(x); });
    const auto id = bad != end ? ~(bad - begin) : std::max_element(begin, end) - begin;
    *call.out[0].row<int32_t>(t) = static_cast<int32_t>(id);
  }
}

}  // namespace

void argmax(Registry::Adder registry) {
  registry.add({.op = Argmax::name, .note = "the definition", .accepts = [](const Problem&) { return Support{}; }, .run = run});
}

}  // namespace kerf::reference
