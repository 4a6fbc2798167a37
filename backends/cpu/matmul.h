// What the matmul kernels share: how the rows of a weight are handed to the pool, and registration. Compiled without
// vector flags; files built for an instruction set see plain data and function pointers only (see simd_rung.h).
//
// The order of additions is part of every kernel's contract: the K products of one output element are added in an order
// that depends on nothing but K. So a result has the same bits for any number of threads, and a token has the same bits
// whether it comes alone or in a batch. The common frame of that order is the segment: kSegment values are summed in
// lanes, the lanes in a fixed tree, and the segments one after the other.
#pragma once
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "core/kernel.h"

namespace kerf::cpu {

inline constexpr int64_t kStrip = 256;     // values unpacked at a time: a K-quant block, or eight blocks of 32
inline constexpr int64_t kSegment = 1024;  // 4 strips: 16 rows of them as codes and scales (24 KB) stay in an L1 cache

// One token streams the weights: a range of this many bytes is long enough for prefetching to run ahead, and short enough
// that the last ranges of a matrix do not leave a thread idle for long.
inline constexpr int64_t kTaskBytes = 96 * 1024;

struct MatMulArgs {
  const std::byte* x;                 // [T,K] f32 or q8_g16; with x_rows, token t is row x_rows[t] of it
  const std::byte* w;                 // [N,K]
  float* y;                           // [T,N]
  int64_t T, N, K, x_bytes, w_bytes;  // bytes per row
  const int32_t* x_rows = nullptr;    // which rows of x an expert works on; null: all, in order
};

/// Whether one stream of weights is to be asked for by software: on all processors but AMD's. Of a Zen 4 one core reads q4_k
/// as it decodes a token at 28 of 29 GB/s if it is left alone, and at 18 with the requests that an Emerald Rapids needs to
/// come from 77 to 94 % of what it can read.
bool asks_for_streams();

/// Computes y[0..T, first..last).
using RowsFn = void (*)(const MatMulArgs& a, int64_t first, int64_t last);

/// Calls `rows` over the pool with ranges that begin at a multiple of `multiple`: for few tokens ranges of about 100 KB of
/// weights, for many up to 128 rows, which share the activations in a cache.
void run_rows(const Call& call, int64_t multiple, RowsFn rows);

/// As run_rows for a kernel that makes panels of `panel` rows from `tokens` tokens on: ranges are whole panels if every thread
/// can have one, and all rows pass for a block of tokens whose activations stay in a shared cache (f16, 512 tokens of 8960
/// values, 18 MB: 93 GFLOP/s at once, 101 in blocks).
void run_panels(const Call& call, int64_t multiple, int64_t panel, int64_t tokens, RowsFn rows);
inline constexpr int64_t kBlockBytes = 8 << 20;

/// Rows that a task should take, a multiple of `multiple`.
int64_t rows_per_task(const MatMulArgs& a, int64_t multiple, int threads);

/// The rows of single rungs, for those who work on several weights in one loop; null if the weights' type has none. q8_g16
/// activations and weights of the affine types (quant/formats.h), plain or interleaved; f32 activations and weights of any
/// type with a decoder.
RowsFn generic_rows(DType weights);
RowsFn avx2_rows(DType weights);
RowsFn vnni_rows(DType weights);
RowsFn vnni_interleaved_rows(DType weights);
RowsFn generic_float_rows(DType weights);
RowsFn avx2_float_rows(DType weights);
RowsFn avx512_float_rows(DType weights);

/// A rung of the ladder of integer kernels: "<type>.<step>" for activations in q8_g16.
struct IntegerRung {
  std::string_view step{}, improves{}, note{};  // steps: "3_vnni", "2_avx2"
  int preference = 0;
  Isa isa = Isa::base;
};
void add_integer_rung(Registry::Adder registry, DType weights, const IntegerRung& rung, void (*run)(const Problem&, const Call&));
/// As above for kernels that pay from kPanelTokens tokens on.
void add_panel_rung(Registry::Adder registry, DType weights, const IntegerRung& rung, void (*run)(const Problem&, const Call&));
inline constexpr int64_t kPanelTokens = 8;
/// "<type>_r16.<step>": as above for the weights' interleaved form (quant/interleaved.h); `improves` is a rung of the plain one.
void add_interleaved_rung(Registry::Adder registry, DType weights, const IntegerRung& rung, void (*run)(const Problem&, const Call&));

/// Float activations, weights of any type with a decoder.
Support accepts_float(const Problem& p);

#ifndef KERF_ISA
#define KERF_ISA base
#endif
inline namespace KERF_ISA {

/// The activations of token t.
inline const std::byte* activations(const MatMulArgs& a, int64_t t) { return a.x + (a.x_rows ? a.x_rows[t] : t) * a.x_bytes; }

}  // namespace KERF_ISA
}  // namespace kerf::cpu
