// rows: out[t] = table[ids[t]], decoded.
#include <algorithm>

#include "backends/reference/decode.h"
#include "core/threadpool.h"

namespace kerf::reference {
namespace {

void run(const Problem&, const Call& call) {
  const auto &table = call.in[0], &ids = call.in[1], &out = call.out[0];
  call.pool.parallel_for(ids.desc.cols(), [&](int64_t t) {
    const auto row = decoded(table, ids.as<const int32_t>()[t]);
    std::copy(row.begin(), row.end(), out.row<float>(t));
  });
}

}  // namespace

void rows(Registry::Adder registry) {
  registry.add({.op = Rows::name,
                .note = "copies each row through the format's definition",
                .accepts = [](const Problem& p) { return require(decodable(p.in[0].dtype), "the table's format has no decoder"); },
                .run = run});
}

}  // namespace kerf::reference
