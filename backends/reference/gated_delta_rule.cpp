// gated_delta_rule: token by token, each head's state S [dv,dk] decays, forgets what it held under the key and takes the new
// value (Yang, Kautz, Hatamizadeh 2024, eq. 10); the output is what it holds under the query. In double within a batch; the
// state is rounded to f32 when it is put back.
#include <cmath>
#include <vector>

#include "backends/reference/definitions.h"
#include "core/threadpool.h"

namespace kerf::reference {

int64_t key_head(const GatedDeltaRule& op, int64_t h, int64_t heads) {
  return op.order == HeadOrder::tiled ? h % op.n_head_k : h / (heads / op.n_head_k);
}

namespace {

void run(const Problem& p, const Call& call) {
  const auto& op = std::get<GatedDeltaRule>(p.op);
  const int64_t T = p.in[0].rows(), H = p.in[5].shape[1], dv = p.in[5].shape[2], dk = p.in[5].shape[3];
  const bool fresh = call.in[6].as<const int32_t>()[0] == 0;
  call.pool.parallel_for(H * dv, [&](int64_t row) {  // rows of a state never meet
    const int64_t h = row / dv, from = key_head(op, h, H) * dk;
    float* state = call.out[1].row<float>(row);
    std::vector<double> S(static_cast<size_t>(dk), 0);
    if (!fresh) S.assign(state, state + dk);
    for (int64_t t = 0; t < T; ++t) {
      const float *q = call.in[0].row<const float>(t) + from, *k = call.in[1].row<const float>(t) + from;
      const double decay = std::exp(double(call.in[3].row<const float>(t)[h])), rate = call.in[4].row<const float>(t)[h];
      double held = 0, out = 0;
      for (int64_t i = 0; i < dk; ++i) held += (S[static_cast<size_t>(i)] *= decay) * k[i];
      const double change = rate * (call.in[2].row<const float>(t)[row] - held);
      for (int64_t i = 0; i < dk; ++i) out += (S[static_cast<size_t>(i)] += change * k[i]) * q[i];
      call.out[0].row<float>(t)[row] = static_cast<float>(op.scale * out);
    }
    for (int64_t i = 0; i < dk; ++i) state[i] = static_cast<float>(S[static_cast<size_t>(i)]);
  });
}

}  // namespace

void gated_delta_rule(Registry::Adder registry) {
  registry.add({.op = GatedDeltaRule::name, .note = "the definition", .accepts = [](const Problem&) { return Support{}; }, .run = run});
}

}  // namespace kerf::reference
