#include "backends/cpu/matmuls.h"

#include <algorithm>
#include <array>
#include <variant>
#include <vector>

#include "core/threadpool.h"
#include "quant/formats.h"

namespace kerf::cpu {
namespace {

// Ranges of rows begin at whole tiles of interleaved weights, and at whole blocks of a coded output.
constexpr int64_t kMultiple = 32, kMostRows = 64;

MatMulArgs args_of(const TensorView& x, const TensorView& w, float* y) {
  return {.x = x.as<const std::byte>(),
          .w = w.as<const std::byte>(),
          .y = y,
          .T = x.desc.rows(),
          .N = w.desc.rows(),
          .K = w.desc.cols(),
          .x_bytes = x.desc.row_bytes(),
          .w_bytes = w.desc.row_bytes()};
}

/// Rows [first, last) as a product of their own, with outputs [T, last - first] at y.
void rows_apart(const MatMulArgs& a, RowsFn rows, int64_t first, int64_t last, float* y) {
  MatMulArgs part = a;
  part.w += first * a.w_bytes, part.N = last - first, part.y = y;
  rows(part, 0, part.N);
}

Support accepts_few(const Problem& p, size_t weights, DType x) {
  if (auto s = require(p.in[0].dtype == x, x == DType::f32 ? "the activations are not f32" : "the activations are not q8_g16"); !s) return s;
  if (auto s = require(p.in[0].rows() <= kFewTokens, "more than 8 tokens: products one by one unpack weights once for all of them"); !s) return s;
  for (size_t i = 1; i <= weights; ++i) {
    bool known = x == DType::f32 && quant::Formats::visit(p.in[i].dtype, [](auto) {});
    if (x == DType::q8_g16)
      quant::AffineFormats::for_each([&]<class F>(F) { known |= p.in[i].dtype == F::dtype || p.in[i].dtype == interleaved(F::dtype); });
    if (!known) return require(false, "a weight's type has no rows for these activations");
  }
  return {};
}

}  // namespace

void run_matmuls(const Call& call, RowsOf rows) {
  struct Part {
    MatMulArgs a;
    RowsFn rows;
    int64_t step, begin;       // its tasks begin at index `begin`
    const TensorView* addend;  // or null
  };
  const size_t n = call.out.size();
  const bool add = call.in.size() > 1 + n;
  std::vector<Part> parts;
  int64_t tasks = 0;
  for (size_t i = 0; i < n; ++i) {
    const MatMulArgs a = args_of(call.in[0], call.in[1 + i], call.out[i].as<float>());
    const int64_t step = rows_per_task(a, kMultiple, call.pool.size());
    parts.push_back({a, rows(call.in[0].desc.dtype, call.in[1 + i].desc.dtype), step, tasks, add ? &call.in[1 + n + i] : nullptr});
    tasks += (a.N + step - 1) / step;
  }
  call.pool.parallel_for(tasks, [&](int64_t task) {
    const Part& p = *std::find_if(parts.rbegin(), parts.rend(), [&](const Part& part) { return part.begin <= task; });
    const int64_t first = (task - p.begin) * p.step, last = std::min(p.a.N, first + p.step);
    p.rows(p.a, first, last);
    if (!p.addend) return;
    for (int64_t t = 0; t < p.a.T; ++t) {
      const float* addend = p.addend->row<const float>(p.addend->desc.rows() == 1 ? 0 : t);
      float* y = p.a.y + t * p.a.N;
      for (int64_t i = first; i < last; ++i) y[i] += addend[i];
    }
  });
}

void run_matmul_swiglu(const Call& call, RowsOf rows, const SwiGluFns& fns) {
  const TensorView &x = call.in[0], &out = call.out[0];
  const MatMulArgs gate = args_of(x, call.in[1], nullptr), up = args_of(x, call.in[2], nullptr);
  const RowsFn gate_rows = rows(x.desc.dtype, call.in[1].desc.dtype), up_rows = rows(x.desc.dtype, call.in[2].desc.dtype);
  const int64_t step = rows_per_task(gate, kMultiple, call.pool.size());
  call.pool.parallel_for((gate.N + step - 1) / step, [&](int64_t task) {
    const int64_t first = task * step, last = std::min(gate.N, first + step), n = last - first;
    alignas(64) std::array<float, kFewTokens * kMostRows> g, u;  // [T, n]
    rows_apart(gate, gate_rows, first, last, g.data());
    rows_apart(up, up_rows, first, last, u.data());
    if (out.desc.dtype == DType::f32) {
      for (int64_t t = 0; t < gate.T; ++t) fns.silu_times(&g[t * n], &u[t * n], out.row<float>(t) + first, n);
      return;
    }
    fns.silu_times(g.data(), u.data(), g.data(), gate.T * n);
    for (int64_t t = 0; t < gate.T; ++t) {
      auto* q = out.row<int8_t>(t);
      auto* d = reinterpret_cast<float*>(q + gate.N);
      fns.code(&g[t * n], n, q + first, d + first / 16, d + (gate.N + first) / 16);
    }
  });
}

namespace {

Support accepts_group(const Problem& p, DType x) { return accepts_few(p, static_cast<size_t>(std::get<MatMuls>(p.op).count), x); }

Support accepts_swiglu(const Problem& p, DType x) {
  if (p.out[0].dtype != DType::f32)
    if (auto s = require(p.out[0].dtype == DType::q8_g16, "the output is neither f32 nor q8_g16"); !s) return s;
  return accepts_few(p, 2, x);
}

}  // namespace

Support accepts_matmuls(const Problem& p) { return accepts_group(p, DType::q8_g16); }
Support accepts_matmuls_float(const Problem& p) { return accepts_group(p, DType::f32); }
Support accepts_matmul_swiglu(const Problem& p) { return accepts_swiglu(p, DType::q8_g16); }
Support accepts_matmul_swiglu_float(const Problem& p) { return accepts_swiglu(p, DType::f32); }

}  // namespace kerf::cpu
