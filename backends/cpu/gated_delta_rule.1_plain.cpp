// gated_delta_rule, rung 1: the definition row by row (Yang, Kautz, Hatamizadeh 2024, eq. 10). A row stays in L1 while all
// tokens pass; each passes it twice, since what the row holds under the key has to be known before it is changed.
#include <cmath>

#include "backends/cpu/delta_rule.h"
#include "backends/cpu/simd_loop.h"

namespace kerf::cpu {
namespace {

void run(const Problem& p, const Call& call) {
  const DeltaRule d(p, call);
  for_each_rows(call.pool, d.H * d.dv, 8 * d.T * d.dk, [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) {
      const int64_t h = row / d.dv, column = d.key_column(h);
      float* S = d.first_row(h, row % d.dv, 1);
      for (int64_t t = 0; t < d.T; ++t) {
        const float *q = d.q.row<float>(t) + column, *k = d.k.row<float>(t) + column;
        const float decay = std::exp(d.g.row<float>(t)[h]);
        float held = 0, out = 0;
        for (int64_t i = 0; i < d.dk; ++i) held += (S[i] *= decay) * k[i];
        const float change = d.b.row<float>(t)[h] * (d.v.row<float>(t)[row] - held);
        for (int64_t i = 0; i < d.dk; ++i) out += (S[i] += change * k[i]) * q[i];
        d.out.row<float>(t)[row] = d.scale * out;
      }
    }
  });
}

}  // namespace

void gated_delta_rule_1_plain(Registry::Adder r);
void gated_delta_rule_1_plain(Registry::Adder r) {
  add_rung(r, {.op = GatedDeltaRule::name,
               .variant = "1_plain",
               .note = "decay and product with the key in one loop over a row, update and product with the query in a second",
               .preference = 1,
               .accepts = accepts_all,
               .run = run});
}

}  // namespace kerf::cpu
