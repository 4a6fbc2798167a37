// How values are coded as bytes: geometry only (graph, loader and planner need sizes). The numerics of a format live in
// quant/<format>.h, tied to this table by static_assert. A layout that repacks a format for a kernel is a dtype too, so
// that repacking is a visible Convert step like every other change of bytes.
#pragma once
#include <array>
#include <cstdint>
#include <optional>
#include <string_view>

namespace kerf {

enum class DType : uint8_t {
  f32,
  f16,
  bf16,
  f64,
  i8,
  i16,
  i32,
  i64,
  q4_0,
  q4_1,
  q5_0,
  q5_1,
  q8_0,
  q2_k,
  q3_k,
  q4_k,
  q5_k,
  q6_k,
  iq2_xxs,
  iq2_xs,
  iq3_xxs,
  iq1_s,
  iq4_nl,
  iq3_s,
  iq2_s,
  iq4_xs,
  iq1_m,
  tq1_0,
  tq2_0,
  mxfp4,
  nvfp4,
  q1_0,
  q2_0,
  q8_g16,
  bf16_t16,
  q15_t16,
  q4_0_r16,
  q4_1_r16,
  q5_0_r16,
  q5_1_r16,
  q8_0_r16,
  q2_k_r16,
  q3_k_r16,
  q4_k_r16,
  q5_k_r16,
  q6_k_r16,
  iq4_nl_r16,
  iq4_xs_r16,
  count
};

struct DTypeInfo {
  DType dtype{};
  std::string_view name{};
  int block_values = 1;  // values that share one block; a row is a whole number of blocks
  int block_bytes = 0;
  int gguf_id = -1;   // -1: never stored in a file
  int tile_rows = 1;  // rows that are stored together: the bytes of a row are then not contiguous, and rows are padded to a whole tile
};

/// Sizes: GGUF specification (ggml-org/ggml docs/gguf.md) and ggml-common.h's block structs, restated.
inline constexpr std::array<DTypeInfo, static_cast<size_t>(DType::count)> kDTypes{{
    {DType::f32, "f32", 1, 4, 0},
    {DType::f16, "f16", 1, 2, 1},
    {DType::bf16, "bf16", 1, 2, 30},
    {DType::f64, "f64", 1, 8, 28},
    {DType::i8, "i8", 1, 1, 24},
    {DType::i16, "i16", 1, 2, 25},
    {DType::i32, "i32", 1, 4, 26},
    {DType::i64, "i64", 1, 8, 27},
    {DType::q4_0, "q4_0", 32, 18, 2},
    {DType::q4_1, "q4_1", 32, 20, 3},
    {DType::q5_0, "q5_0", 32, 22, 6},
    {DType::q5_1, "q5_1", 32, 24, 7},
    {DType::q8_0, "q8_0", 32, 34, 8},
    {DType::q2_k, "q2_k", 256, 84, 10},
    {DType::q3_k, "q3_k", 256, 110, 11},
    {DType::q4_k, "q4_k", 256, 144, 12},
    {DType::q5_k, "q5_k", 256, 176, 13},
    {DType::q6_k, "q6_k", 256, 210, 14},
    {DType::iq2_xxs, "iq2_xxs", 256, 66, 16},
    {DType::iq2_xs, "iq2_xs", 256, 74, 17},
    {DType::iq3_xxs, "iq3_xxs", 256, 98, 18},
    {DType::iq1_s, "iq1_s", 256, 50, 19},
    {DType::iq4_nl, "iq4_nl", 32, 18, 20},
    {DType::iq3_s, "iq3_s", 256, 110, 21},
    {DType::iq2_s, "iq2_s", 256, 82, 22},
    {DType::iq4_xs, "iq4_xs", 256, 136, 23},
    {DType::iq1_m, "iq1_m", 256, 56, 29},
    {DType::tq1_0, "tq1_0", 256, 54, 34},
    {DType::tq2_0, "tq2_0", 256, 66, 35},
    {DType::mxfp4, "mxfp4", 32, 17, 39},
    {DType::nvfp4, "nvfp4", 64, 36, 40},
    {DType::q1_0, "q1_0", 128, 18, 41},
    {DType::q2_0, "q2_0", 64, 18, 42},
    // Activations for integer kernels: per row int8 q[K], then f32 d[K/16], then f32 sum[K/16] (quant/q8_g16.h).
    {DType::q8_g16, "q8_g16", 32, 48, -1},
    // Activations for bf16 matrix units: tiles of 16 rows x 32 values, 1 KB each (quant/bf16_t16.h).
    {DType::bf16_t16, "bf16_t16", 32, 64, -1, 16},
    // Activations for int8 matrix units: 15 bits in two planes of tiles of 16 rows x 64 values, and scales (quant/q15_t16.h).
    {DType::q15_t16, "q15_t16", 64, 132, -1, 16},
    // Weights with sixteen rows interleaved: the bytes of sixteen blocks in another order (quant/interleaved.h).
    {DType::q4_0_r16, "q4_0_r16", 32, 18, -1, 16},
    {DType::q4_1_r16, "q4_1_r16", 32, 20, -1, 16},
    {DType::q5_0_r16, "q5_0_r16", 32, 22, -1, 16},
    {DType::q5_1_r16, "q5_1_r16", 32, 24, -1, 16},
    {DType::q8_0_r16, "q8_0_r16", 32, 34, -1, 16},
    {DType::q2_k_r16, "q2_k_r16", 256, 84, -1, 16},
    {DType::q3_k_r16, "q3_k_r16", 256, 110, -1, 16},
    {DType::q4_k_r16, "q4_k_r16", 256, 144, -1, 16},
    {DType::q5_k_r16, "q5_k_r16", 256, 176, -1, 16},
    {DType::q6_k_r16, "q6_k_r16", 256, 210, -1, 16},
    {DType::iq4_nl_r16, "iq4_nl_r16", 32, 18, -1, 16},
    {DType::iq4_xs_r16, "iq4_xs_r16", 256, 136, -1, 16},
}};

constexpr const DTypeInfo& info(DType t) { return kDTypes[static_cast<size_t>(t)]; }
constexpr std::string_view name_of(DType t) { return info(t).name; }
/// Bytes of `n` consecutive values of a row; n must be a multiple of the block.
constexpr int64_t row_bytes(DType t, int64_t n) { return n / info(t).block_values * info(t).block_bytes; }

/// The format with sixteen rows interleaved that holds the same values; nothing if `t` has none.
constexpr std::optional<DType> interleaved(DType t) {
  switch (t) {
    case DType::q4_0:
      return DType::q4_0_r16;
    case DType::q4_1:
      return DType::q4_1_r16;
    case DType::q5_0:
      return DType::q5_0_r16;
    case DType::q5_1:
      return DType::q5_1_r16;
    case DType::q8_0:
      return DType::q8_0_r16;
    case DType::q2_k:
      return DType::q2_k_r16;
    case DType::q3_k:
      return DType::q3_k_r16;
    case DType::q4_k:
      return DType::q4_k_r16;
    case DType::q5_k:
      return DType::q5_k_r16;
    case DType::q6_k:
      return DType::q6_k_r16;
    case DType::iq4_nl:
      return DType::iq4_nl_r16;
    case DType::iq4_xs:
      return DType::iq4_xs_r16;
    default:
      return std::nullopt;
  }
}

constexpr std::optional<DType> dtype_named(std::string_view name) {
  for (const auto& row : kDTypes)
    if (row.name == name) return row.dtype;
  return std::nullopt;
}

static_assert(
    [] {
      for (size_t i = 0; i < kDTypes.size(); ++i)
        if (static_cast<size_t>(kDTypes[i].dtype) != i) return false;
      return true;
    }(),
    "kDTypes must be in the order of the enum");

}  // namespace kerf
