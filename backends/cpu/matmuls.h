// Fused products for few tokens: all rows of several weights are shared out in one parallel loop, and what follows a product
// (an addend; silu and a multiplication; the coding of the result) is done by the task that has it in its L1 cache.
// Compiled without vector flags; files built for an instruction set see plain data and function pointers (simd_rung.h).
#pragma once
#include "backends/cpu/matmul.h"

namespace kerf::cpu {

/// From nine tokens on kernels that unpack weights once per batch are ahead (amx_matmul.h, <type>.4_panel).
inline constexpr int64_t kFewTokens = 8;

/// The rows function for activations in `x` and weights in `w`; null if there is none.
using RowsOf = RowsFn (*)(DType x, DType w);
void run_matmuls(const Call& call, RowsOf rows);
Support accepts_matmuls(const Problem& p);        // activations in q8_g16
Support accepts_matmuls_float(const Problem& p);  // activations in f32

/// n values of silu(gate) * up; and n values, a multiple of 16, coded as q8_g16 to the three planes of a row.
struct SwiGluFns {
  void (*silu_times)(const float* gate, const float* up, float* out, int64_t n);
  void (*code)(const float* x, int64_t n, int8_t* q, float* d, float* sum);
};
void run_matmul_swiglu(const Call& call, RowsOf rows, const SwiGluFns& fns);
Support accepts_matmul_swiglu(const Problem& p);
Support accepts_matmul_swiglu_float(const Problem& p);

}  // namespace kerf::cpu
