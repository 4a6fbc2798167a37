// router: softmax over all experts, the largest `used` of them in falling order (of equal ones the lower id first), and their
// weights, which sum to one again if the architecture says so (Shazeer et al. 2017; the lower bound 2^-14 is llama.cpp's).
#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <vector>

#include "core/kernel.h"

namespace kerf::reference {
namespace {

void run(const Problem& p, const Call& call) {
  const auto& op = std::get<Router>(p.op);
  const int64_t X = p.in[0].cols();
  std::vector<int32_t> order(static_cast<size_t>(X));
  for (int64_t t = 0; t < p.in[0].rows(); ++t) {
    const float* logits = call.in[0].row<const float>(t);
    std::iota(order.begin(), order.end(), 0);
    const auto key = [&](int32_t e) { return std::isnan(logits[e]) ? -std::numeric_limits<float>::infinity() : logits[e]; };
    std::stable_sort(order.begin(), order.end(), [&](int32_t a, int32_t b) { return key(a) > key(b); });
    const double largest = logits[order[0]];
    double all = 0, chosen = 0;
    for (int64_t e = 0; e < X; ++e) all += std::exp(logits[e] - largest);
    const auto probability = [&](int32_t e) { return std::exp(logits[e] - largest) / all; };
    for (int u = 0; u < op.used; ++u) chosen += probability(order[static_cast<size_t>(u)]);
    const double divisor = op.renormalize ? std::max(chosen, 0x1p-14) : 1;
    for (int u = 0; u < op.used; ++u) {
      const int32_t e = order[static_cast<size_t>(u)];
      call.out[0].row<int32_t>(t)[u] = e;
      call.out[1].row<float>(t)[u] = static_cast<float>(probability(e) / divisor);
    }
  }
}

}  // namespace

void router(Registry::Adder registry) {
  registry.add({.op = Router::name, .note = "the definition", .accepts = [](const Problem&) { return Support{}; }, .run = run});
}

}  // namespace kerf::reference
