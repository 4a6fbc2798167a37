// any.0_decode: for every machine and every format with a decoder. Weights become floats one by one, as their format
// defines them; a decoded segment serves all tokens.
#include "backends/cpu/dot_float.h"
#include "backends/cpu/simd_rung.h"

namespace kerf::cpu {
void matmul_any_0_decode(Registry::Adder);
namespace {

/// Eight floats that a compiler may keep in whatever vectors it has.
struct Plain {
  static constexpr int kLanes = 8, kRows = 2, kTokens = 2;
  struct Reg {
    float lane[kLanes];
  };
  static Reg zero() { return {}; }
  static Reg load(const float* p) { return load_first(p, kLanes); }
  static Reg load_first(const float* p, int64_t n) {
    Reg r{};
    for (int64_t i = 0; i < n; ++i) r.lane[i] = p[i];
    return r;
  }
  static Reg fma(const Reg& a, const Reg& b, const Reg& c) {
    Reg r{};
    for (int i = 0; i < kLanes; ++i) r.lane[i] = a.lane[i] * b.lane[i] + c.lane[i];
    return r;
  }
  static void totals(const Reg (&a)[kRows], float (&out)[kRows]) {
    for (int r = 0; r < kRows; ++r) {
      const auto& l = a[r].lane;
      out[r] = ((l[0] + l[4]) + (l[2] + l[6])) + ((l[1] + l[5]) + (l[3] + l[7]));
    }
  }
};

struct ByDefinition {
  template <class F>
  static void values(const typename F::Block* block, int64_t n, int64_t, float* out) {
    quant::decode_row<F>(block, n, out);
  }
};

}  // namespace

RowsFn generic_float_rows(DType weights) {
  RowsFn rows = nullptr;
  quant::Formats::visit(weights, [&]<class F>(F) { rows = float_rows<F, Plain, ByDefinition>; });
  return rows;
}

void matmul_any_0_decode(Registry::Adder registry) {
  add_rung(registry, {.op = MatMul::name,
                      .variant = "any.0_decode",
                      .note = "weights decoded to floats value by value, products summed in eight lanes",
                      .preference = 0,
                      .accepts = accepts_float,
                      .run = run_float<Plain, ByDefinition>});
}

}  // namespace kerf::cpu
