// rope: the first dims of every head rotated in pairs, (a, b) -> (a cos - b sin, a sin + b cos); the rest copied.
#include "backends/reference/definitions.h"

namespace kerf::reference {

void rotate(const Rope& op, const TensorView& x, const TensorView& table, const TensorView& out) {
  const int64_t dims = table.desc.cols(), half = dims / 2;
  const bool neighbours = op.pairing == RopePairing::norm;
  for (int64_t t = 0; t < x.desc.rows(); ++t)
    for (int64_t head = 0; head < x.desc.cols(); head += op.head_dim) {
      const float *v = x.row<const float>(t) + head, *angles = table.row<const float>(t);
      float* y = out.row<float>(t) + head;
      for (int64_t i = 0; i < half; ++i) {
        const int64_t first = neighbours ? 2 * i : i, second = neighbours ? 2 * i + 1 : i + half;
        const double a = v[first], b = v[second], cos = angles[i], sin = angles[half + i];
        y[first] = static_cast<float>(a * cos - b * sin);
        y[second] = static_cast<float>(a * sin + b * cos);
      }
      for (int64_t i = dims; i < op.head_dim; ++i) y[i] = v[i];
    }
}

void rope(Registry::Adder registry) {
  registry.add({.op = Rope::name,
                .note = "the definition",
                .accepts = [](const Problem&) { return Support{}; },
                .run = [](const Problem& p, const Call& call) { rotate(std::get<Rope>(p.op), call.in[0], call.in[1], call.out[0]); }});
}

}  // namespace kerf::reference
