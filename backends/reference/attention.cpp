// attention: attention/reference for every token and query head, over the keys the token sees.
#include "attention/reference.h"

#include <algorithm>

#include "attention/spec.h"
#include "backends/reference/decode.h"
#include "core/threadpool.h"

namespace kerf::reference {
namespace {

/// Rows keys.begin ... of one head's keys or values, one behind the other.
std::vector<double> decoded_rows(const TensorView& state, int64_t head, attention::Range keys) {
  std::vector<double> values;
  values.reserve(static_cast<size_t>((keys.end - keys.begin) * state.desc.cols()));
  for (int64_t s = keys.begin; s < keys.end; ++s)
    for (const float v : decoded(state, head * state.desc.shape[2] + s)) values.push_back(v);
  return values;
}

void run(const Problem& p, const Call& call) {
  const auto& op = std::get<Attention>(p.op);
  const auto &q = call.in[0], &k = call.in[1], &v = call.in[2], &out = call.out[0];
  const int64_t n_kv = k.desc.shape[1], hd = k.desc.shape[3], T = q.desc.rows();
  const auto* positions = call.in[3].as<const int32_t>();
  attention::Range all = attention::visible_keys(positions[0], op.window);  // that any token sees
  for (int64_t t = 1; t < T; ++t) {
    const auto keys = attention::visible_keys(positions[t], op.window);
    all = {std::min(all.begin, keys.begin), std::max(all.end, keys.end)};
  }
  for (int64_t kv = 0; kv < n_kv; ++kv) {
    const auto all_keys = decoded_rows(k, kv, all), all_values = decoded_rows(v, kv, all);
    call.pool.parallel_for(T * op.n_head, [&](int64_t i) {
      const int64_t t = i / op.n_head, head = i % op.n_head;
      if (attention::kv_head(head, op.n_head, n_kv) != kv) return;
      const auto keys = attention::visible_keys(positions[t], op.window);
      const auto seen = [&](const std::vector<double>& rows) {
        return std::span(rows).subspan(static_cast<size_t>((keys.begin - all.begin) * hd), static_cast<size_t>((keys.end - keys.begin) * hd));
      };
      const std::vector<double> query(q.row<const float>(t) + head * hd, q.row<const float>(t) + (head + 1) * hd);
      std::vector<double> result(query.size());
      attention::reference(query, seen(all_keys), seen(all_values), op.scale, result);
      for (size_t d = 0; d < result.size(); ++d) out.row<float>(t)[head * hd + static_cast<int64_t>(d)] = static_cast<float>(result[d]);
    });
  }
}

}  // namespace

void attention(Registry::Adder registry) {
  const auto accepts = [](const Problem& p) {
    return require(decodable(p.in[1].dtype) && decodable(p.in[2].dtype), "the keys' or values' format has no decoder");
  };
  registry.add({.op = Attention::name, .note = "the definition: all scores of a row, softmax, weighted sum", .accepts = accepts, .run = run});
}

}  // namespace kerf::reference
