// matmul, matmuls, matmul_swiglu: sum_k x[t][k] * w[n][k], in double, in the order of k; what a fused op does with the
// sum is done in double too, and rounded once.
#include "backends/reference/decode.h"
#include "backends/reference/definitions.h"
#include "core/threadpool.h"

namespace kerf::reference {

double dot(const std::vector<float>& x, const std::vector<float>& w) {
  double sum = 0;
  for (size_t k = 0; k < w.size(); ++k) sum += double(x[k]) * w[k];
  return sum;
}

namespace {

std::vector<std::vector<float>> rows_of(const TensorView& x) {
  std::vector<std::vector<float>> rows;
  for (int64_t t = 0; t < x.desc.rows(); ++t) rows.push_back(decoded(x, t));
  return rows;
}

/// out = x w^T + addend (null: none; a vector is added to every row).
void multiply(const TensorView& x, const TensorView& w, const TensorView* addend, const TensorView& out, ThreadPool& pool) {
  const auto rows = rows_of(x);
  pool.parallel_for(w.desc.rows(), [&](int64_t n) {
    const auto weights = decoded(w, n);
    for (size_t t = 0; t < rows.size(); ++t) {
      const auto row = static_cast<int64_t>(t);
      double sum = dot(rows[t], weights);
      if (addend) sum += addend->row<const float>(addend->desc.rows() == 1 ? 0 : row)[n];
      out.row<float>(row)[n] = static_cast<float>(sum);
    }
  });
}

void run_matmuls(const Problem& p, const Call& call) {
  const auto& op = std::get<MatMuls>(p.op);
  for (size_t i = 1, n = static_cast<size_t>(op.count); i <= n; ++i)
    multiply(call.in[0], call.in[i], op.add ? &call.in[n + i] : nullptr, call.out[i - 1], call.pool);
}

void run_swiglu(const Problem&, const Call& call) {
  const auto rows = rows_of(call.in[0]);
  call.pool.parallel_for(call.in[1].desc.rows(), [&](int64_t n) {
    const auto gate = decoded(call.in[1], n), up = decoded(call.in[2], n);
    for (size_t t = 0; t < rows.size(); ++t)
      call.out[0].row<float>(static_cast<int64_t>(t))[n] = static_cast<float>(swiglu(dot(rows[t], gate), dot(rows[t], up)));
  });
}

Support accepts(const Problem& p) {
  if (auto s = require(decodable(p.in[0].dtype), "the activations' format has no decoder"); !s) return s;
  for (size_t i = 1; i < p.in.size(); ++i)
    if (auto s = require(decodable(p.in[i].dtype), "the weights' format has no decoder"); !s) return s;
  return {};
}

}  // namespace

void matmul(Registry::Adder registry) {
  registry.add({.op = MatMul::name,
                .note = "the definition: every weight decoded, products summed in double",
                .accepts = accepts,
                .run = [](const Problem&, const Call& call) { multiply(call.in[0], call.in[1], nullptr, call.out[0], call.pool); }});
  registry.add({.op = MatMuls::name,
                .note = "the definition: one product after the other, addends added before rounding",
                .accepts = accepts,
                .run = run_matmuls});
  registry.add({.op = MatMulSwiGlu::name, .note = "the definition: both products and silu in double", .accepts = accepts, .run = run_swiglu});
}

}  // namespace kerf::reference
