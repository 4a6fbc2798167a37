// rows: the rows of a table that the ids name, decoded as their format defines them; one row per loop index.
#include <algorithm>
#include <limits>

#include "backends/cpu/simd_rung.h"
#include "core/threadpool.h"
#include "quant/formats.h"

namespace kerf::cpu {
void rows_0_decode(Registry::Adder);
namespace {

void run(const Problem&, const Call& call) {
  const TensorView &table = call.in[0], &ids = call.in[1], &y = call.out[0];
  const int64_t E = table.desc.cols();
  call.pool.parallel_for(ids.desc.cols(), [&](int64_t t) {
    const int64_t id = ids.as<const int32_t>()[t];
    float* out = y.row<float>(t);
    // An id outside the table is a bug of the caller: NaN shows it in every later value, and nothing is read out of bounds.
    if (id < 0 || id >= table.desc.rows()) return std::fill_n(out, E, std::numeric_limits<float>::quiet_NaN()), void();
    quant::decode_row(table.desc.dtype, table.row<const std::byte>(id), E, out);
  });
}

Support accepts(const Problem& p) { return require(quant::has_decoder(p.in[0].dtype), "the table's format has no decoder"); }

}  // namespace

void rows_0_decode(Registry::Adder registry) {
  add_rung(registry, {.op = Rows::name, .variant = "0_decode", .note = "each row decoded value by value", .accepts = accepts, .run = run});
}

}  // namespace kerf::cpu
