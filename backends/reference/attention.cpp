// attention: attention/reference for every token and query head, over the keys the token sees.
#include "attention/reference.h"

#include "attention/spec.h"
#include "backends/reference/decode.h"
#include "core/threadpool.h"

namespace kerf::reference {
namespace {

std::vector<double> decoded_keys(const TensorView& state, int64_t head, attention::Range keys) {
  std::vector<double> values;
  for (int64_t s = keys.begin; s < keys.end; ++s)
    for (const float v : decoded(state, head * state.desc.shape[2] + s)) values.push_back(v);
  return values;
}

void run(const Problem& p, const Call& call) {
  const auto& op = std::get<Attention>(p.op);
  const auto &q = call.in[0], &k = call.in[1], &v = call.in[2], &out = call.out[0];
  const int64_t n_kv = k.desc.shape[1], hd = k.desc.shape[3];
  call.pool.parallel_for(q.desc.rows() * op.n_head, [&](int64_t i) {
    const int64_t t = i / op.n_head, head = i % op.n_head, kv = attention::kv_head(head, op.n_head, n_kv);
    const auto keys = attention::visible_keys(call.in[3].as<const int32_t>()[t], op.window);
    const std::vector<double> query(q.row<const float>(t) + head * hd, q.row<const float>(t) + (head + 1) * hd);
    std::vector<double> result(query.size());
    attention::reference(query, decoded_keys(k, kv, keys), decoded_keys(v, kv, keys), op.scale, result);
    for (size_t d = 0; d < result.size(); ++d) out.row<float>(t)[head * hd + static_cast<int64_t>(d)] = static_cast<float>(result[d]);
  });
}

}  // namespace

void attention(Registry::Adder registry) {
  const auto accepts = [](const Problem& p) {
    return require(decodable(p.in[1].dtype) && decodable(p.in[2].dtype), "the keys' or values' format has no decoder");
  };
  registry.add({.op = Attention::name, .note = "the definition: all scores of a row, softmax, weighted sum", .accepts = accepts, .run = run});
}

}  // namespace kerf::reference
