// matmul: out[t][n] = sum_k x[t][k] * w[n][k], in double, in the order of k.
#include "backends/reference/decode.h"
#include "core/threadpool.h"

namespace kerf::reference {
namespace {

void run(const Problem&, const Call& call) {
  const auto &x = call.in[0], &w = call.in[1], &out = call.out[0];
  std::vector<std::vector<float>> rows;
  for (int64_t t = 0; t < x.desc.rows(); ++t) rows.push_back(decoded(x, t));
  call.pool.parallel_for(w.desc.rows(), [&](int64_t n) {
    const auto weights = decoded(w, n);
    for (size_t t = 0; t < rows.size(); ++t) {
      double sum = 0;
      for (size_t k = 0; k < weights.size(); ++k) sum += double(rows[t][k]) * weights[k];
      out.row<float>(static_cast<int64_t>(t))[n] = static_cast<float>(sum);
    }
  });
}

Support accepts(const Problem& p) {
  if (auto s = require(decodable(p.in[0].dtype), "the activations' format has no decoder"); !s) return s;
  return require(decodable(p.in[1].dtype), "the weights' format has no decoder");
}

}  // namespace

void matmul(Registry::Adder registry) {
  registry.add({.op = MatMul::name, .note = "the definition: every weight decoded, products summed in double", .accepts = accepts, .run = run});
}

}  // namespace kerf::reference
