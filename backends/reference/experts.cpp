// expert_matmul, expert_swiglu, expert_sum, expert_matmul_sum: every slot multiplied with the matrices of its own expert, in
// double, in the order of k; slots of a token are added in their order.
#include "backends/reference/decode.h"
#include "backends/reference/definitions.h"
#include "core/threadpool.h"

namespace kerf::reference {
namespace {

/// What one slot reads: its activations, and where its expert's rows begin.
struct Slots {
  const TensorView &x, &ids;

  int64_t count() const { return ids.desc.size(); }
  std::vector<float> activations(int64_t slot) const { return decoded(x, x.desc.rows() == count() ? slot : slot / ids.desc.cols()); }
  int64_t first_row(int64_t slot, const TensorView& w) const { return ids.as<const int32_t>()[slot] * w.desc.shape[2]; }
};

void run_matmul(const Problem&, const Call& call) {
  const TensorView &w = call.in[1], &out = call.out[0];
  const Slots slots{call.in[0], call.in[2]};
  call.pool.parallel_for(slots.count(), [&](int64_t s) {
    const auto x = slots.activations(s);
    for (int64_t n = 0; n < w.desc.shape[2]; ++n) out.row<float>(s)[n] = static_cast<float>(dot(x, decoded(w, slots.first_row(s, w) + n)));
  });
}

void run_swiglu(const Problem&, const Call& call) {
  const TensorView &gate = call.in[1], &up = call.in[2], &out = call.out[0];
  const Slots slots{call.in[0], call.in[3]};
  call.pool.parallel_for(slots.count(), [&](int64_t s) {
    const auto x = slots.activations(s);
    for (int64_t n = 0; n < gate.desc.shape[2]; ++n) {
      const int64_t row = slots.first_row(s, gate) + n;
      out.row<float>(s)[n] = static_cast<float>(swiglu(dot(x, decoded(gate, row)), dot(x, decoded(up, row))));
    }
  });
}

void run_sum(const Problem& p, const Call& call) {
  const TensorView &y = call.in[0], &weights = call.in[1], &out = call.out[0];
  const int64_t U = p.in[1].cols();
  for (int64_t t = 0; t < p.out[0].rows(); ++t)
    for (int64_t e = 0; e < p.out[0].cols(); ++e) {
      double sum = 0;
      for (int64_t u = 0; u < U; ++u) sum += double(weights.row<const float>(t)[u]) * y.row<const float>(t * U + u)[e];
      out.row<float>(t)[e] = static_cast<float>(sum);
    }
}

void run_matmul_sum(const Problem&, const Call& call) {
  const TensorView &w = call.in[1], &weights = call.in[3], &out = call.out[0];
  const Slots slots{call.in[0], call.in[2]};
  const int64_t U = call.in[2].desc.cols();
  call.pool.parallel_for(out.desc.rows(), [&](int64_t t) {
    std::vector<double> sums(static_cast<size_t>(out.desc.cols()));
    for (int64_t s = t * U; s < (t + 1) * U; ++s) {
      const auto x = slots.activations(s);
      for (size_t n = 0; n < sums.size(); ++n)
        sums[n] += weights.as<const float>()[s] * dot(x, decoded(w, slots.first_row(s, w) + static_cast<int64_t>(n)));
    }
    for (size_t n = 0; n < sums.size(); ++n) out.row<float>(t)[n] = static_cast<float>(sums[n]);
  });
}

Support accepts(const Problem& p) {
  const ExpertInputs e = *expert_inputs(p.op);
  if (auto s = require(decodable(p.in[0].dtype), "the activations' format has no decoder"); !s) return s;
  for (size_t i = e.first; i < e.first + e.count; ++i)
    if (auto s = require(decodable(p.in[i].dtype), "the weights' format has no decoder"); !s) return s;
  return {};
}

}  // namespace

void experts(Registry::Adder registry) {
  registry.add(
      {.op = ExpertMatMul::name, .note = "the definition: every weight decoded, products summed in double", .accepts = accepts, .run = run_matmul});
  registry.add({.op = ExpertSwiGlu::name, .note = "the definition: both products and silu in double", .accepts = accepts, .run = run_swiglu});
  registry.add({.op = ExpertSum::name, .note = "the definition", .accepts = [](const Problem&) { return Support{}; }, .run = run_sum});
  registry.add(
      {.op = ExpertMatMulSum::name, .note = "the definition: products and their weighted sum in double", .accepts = accepts, .run = run_matmul_sum});
}

}  // namespace kerf::reference
