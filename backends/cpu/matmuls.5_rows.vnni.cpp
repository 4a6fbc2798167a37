// matmuls.few_vnni and matmul_swiglu.few_vnni: the rows of the best rungs for few tokens of every type, in one loop over all
// weights of the group: one barrier instead of one per product, addition or activation, and no pass over memory for those.
#include "backends/cpu/matmuls.h"
#include "backends/cpu/batch_avx512.h"
#include "backends/cpu/encode_avx512.h"
#include "backends/cpu/simd_rung.h"
#include "backends/cpu/simd_swiglu.h"

namespace kerf::cpu {
void matmuls_5_rows_vnni(Registry::Adder);
namespace {

RowsFn rows_of(DType x, DType w) {
  if (x == DType::f32) return avx512_float_rows(w);
  const RowsFn plain = vnni_rows(w);
  return plain ? plain : vnni_interleaved_rows(w);
}

void code(const float* x, int64_t n, int8_t* q, float* d, float* sum) { EncodeAvx512::groups(x, n / 16, q, d, sum); }

}  // namespace

void matmuls_5_rows_vnni(Registry::Adder registry) {
  constexpr auto run_group = [](const Problem&, const Call& call) { run_matmuls(call, rows_of); };
  constexpr auto run_swiglu = [](const Problem&, const Call& call) { run_matmul_swiglu(call, rows_of, {silu_times<BatchAvx512>, code}); };
  add_rung(registry, {.op = MatMuls::name,
                      .variant = "few_float",
                      .note = "rows of all weights in one loop over f32 activations, addends added while the sums are in L1; up to 8 tokens",
                      .preference = 5,
                      .isa = Isa::vnni,
                      .accepts = accepts_matmuls_float,
                      .run = run_group});
  add_rung(registry, {.op = MatMuls::name,
                      .variant = "few_vnni",
                      .improves = "few_float",
                      .note = "the same in integer products of 8-bit activations, over weights as the file has them or interleaved",
                      .preference = 50,
                      .isa = Isa::vnni,
                      .accepts = accepts_matmuls,
                      .run = run_group});
  add_rung(registry, {.op = MatMulSwiGlu::name,
                      .variant = "few_float",
                      .note = "gate and up in one loop over f32 activations, silu and the coding of the result while both are in L1; up to 8 tokens",
                      .preference = 5,
                      .isa = Isa::vnni,
                      .writes_formats = true,
                      .accepts = accepts_matmul_swiglu_float,
                      .run = run_swiglu});
  add_rung(registry, {.op = MatMulSwiGlu::name,
                      .variant = "few_vnni",
                      .improves = "few_float",
                      .note = "the same in integer products of 8-bit activations, over weights as the file has them or interleaved",
                      .preference = 50,
                      .isa = Isa::vnni,
                      .writes_formats = true,
                      .accepts = accepts_matmul_swiglu,
                      .run = run_swiglu});
}

}  // namespace kerf::cpu
