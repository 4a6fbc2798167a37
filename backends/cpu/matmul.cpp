#include "backends/cpu/matmul.h"

#include <algorithm>
#include <string>

#include "backends/cpu/simd_rung.h"
#include "core/error.h"
#include "core/threadpool.h"
#include "quant/formats.h"

namespace kerf::cpu {
namespace {

constexpr std::string_view kNotCoded = "the activations are not q8_g16";

template <DType type>
Support accepts_integer(const Problem& p) {
  if (auto s = require(p.in[0].dtype == DType::q8_g16, kNotCoded); !s) return s;
  return require(p.in[1].dtype == type, "the weights have another type");
}

template <DType type>
Support accepts_panel(const Problem& p) {
  if (auto s = accepts_integer<type>(p); !s) return s;
  return require(p.in[0].rows() >= kPanelTokens, "fewer than 8 tokens: transposing the weights costs more than it saves");
}

Rung rung_of(const IntegerRung& r, std::string_view variant, std::string_view improves, void (*run)(const Problem&, const Call&)) {
  return {.op = MatMul::name, .variant = variant, .improves = improves, .note = r.note, .preference = r.preference, .isa = r.isa, .run = run};
}

template <class SetAccepts>
void add(Registry::Adder registry, DType weights, const IntegerRung& r, void (*run)(const Problem&, const Call&), SetAccepts set_accepts) {
  const std::string prefix = std::string(name_of(weights)) + '.';
  const std::string variant = prefix + std::string(r.step), improves = r.improves.empty() ? "" : prefix + std::string(r.improves);
  Rung rung = rung_of(r, variant, improves, run);
  const bool known = quant::AffineFormats::visit(weights, [&]<class F>(F) { set_accepts.template operator()<F::dtype>(rung); });
  KERF_CHECK(known, "no integer kernels for " + prefix);
  add_rung(registry, rung);
}

}  // namespace

bool asks_for_streams() { return !__builtin_cpu_is("amd"); }

int64_t rows_per_task(const MatMulArgs& a, int64_t multiple, int threads) {
  // Many tokens: what a task prepares of the activations should serve many rows.
  const int64_t most = a.T >= 64 ? 128 : 64;
  const int64_t by_size = a.T >= kPanelTokens ? most : kTaskBytes / std::max<int64_t>(1, a.w_bytes), by_share = a.N / (4 * threads);
  const int64_t rows = std::clamp<int64_t>(std::min(by_size, by_share), 1, most);
  return (rows + multiple - 1) / multiple * multiple;
}

namespace {

MatMulArgs args_of(const Call& call) {
  const TensorView &x = call.in[0], &w = call.in[1], &y = call.out[0];
  return {.x = x.as<const std::byte>(),
          .w = w.as<const std::byte>(),
          .y = y.as<float>(),
          .T = x.desc.rows(),
          .N = w.desc.rows(),
          .K = w.desc.cols(),
          .x_bytes = x.desc.row_bytes(),
          .w_bytes = w.desc.row_bytes()};
}

void over_pool(const MatMulArgs& a, ThreadPool& pool, int64_t multiple, RowsFn rows) {
  const int64_t step = rows_per_task(a, multiple, pool.size());
  pool.parallel_for((a.N + step - 1) / step, [&](int64_t i) { rows(a, i * step, std::min(a.N, (i + 1) * step)); });
}

}  // namespace

void run_rows(const Call& call, int64_t multiple, RowsFn rows) { over_pool(args_of(call), call.pool, multiple, rows); }

void run_panels(const Call& call, int64_t multiple, int64_t panel, int64_t tokens, RowsFn rows) {
  const MatMulArgs a = args_of(call);
  if (a.T < tokens) return over_pool(a, call.pool, multiple, rows);
  const int64_t blocks = (a.T * a.x_bytes + kBlockBytes - 1) / kBlockBytes;
  for (int64_t i = 0; i < blocks; ++i) {
    const int64_t t0 = i * a.T / blocks, t1 = (i + 1) * a.T / blocks;
    MatMulArgs block = a;
    block.x += t0 * a.x_bytes, block.y += t0 * a.N, block.T = t1 - t0;
    over_pool(block, call.pool, a.N >= panel * call.pool.size() ? panel : multiple, rows);
  }
}

void add_integer_rung(Registry::Adder registry, DType weights, const IntegerRung& r, void (*run)(const Problem&, const Call&)) {
  add(registry, weights, r, run, []<DType type>(Rung& rung) { rung.accepts = accepts_integer<type>; });
}

void add_panel_rung(Registry::Adder registry, DType weights, const IntegerRung& r, void (*run)(const Problem&, const Call&)) {
  add(registry, weights, r, run, []<DType type>(Rung& rung) { rung.accepts = accepts_panel<type>; });
}

void add_interleaved_rung(Registry::Adder registry, DType weights, const IntegerRung& r, void (*run)(const Problem&, const Call&)) {
  const std::string plain(name_of(weights)), variant = plain + "_r16." + std::string(r.step), improves = plain + '.' + std::string(r.improves);
  Rung rung = rung_of(r, variant, improves, run);
  quant::AffineFormats::visit(weights, [&]<class F>(F) { rung.accepts = accepts_integer<*interleaved(F::dtype)>; });
  KERF_CHECK(rung.accepts, "no interleaved form of " + plain);
  add_rung(registry, rung);
}

Support accepts_float(const Problem& p) {
  if (auto s = require(p.in[0].dtype == DType::f32, "the activations are not f32"); !s) return s;
  return require(p.in[1].dtype != DType::q8_g16 && quant::has_decoder(p.in[1].dtype), "the weights' format has no decoder");
}

}  // namespace kerf::cpu
