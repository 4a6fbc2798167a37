// AMX tiles: eight registers of 16 rows x 64 bytes per core, and a unit that multiplies two of them in 16 cycles.
// Written as assembler with memory operands, because the intrinsics of GCC 12 take literal register numbers only, name no
// memory (so the compiler may move the stores that fill a tile past its load), and drop the stores that build a
// configuration on the stack. Every tile here is whole and contiguous: 16 rows, 64 bytes apart.
// Source of the instructions: Intel SDM vol. 2, TILELOADD, TDPBF16PS, LDTILECFG.
#pragma once
#include <cstddef>
#include <cstdint>

#include "core/half.h"

namespace kerf::cpu {
inline namespace KERF_ISA {

inline constexpr int64_t kTileBytes = 1024;

struct alignas(64) TileConfig {
  uint8_t palette = 1, start_row = 0, reserved[14] = {};
  uint16_t row_bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
  uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
};
inline constexpr TileConfig kWholeTiles{};

/// All eight tiles whole while this lives; afterwards the thread has no tile state that a context switch would save.
class TileScope {
 public:
  TileScope() { __asm__ volatile("ldtilecfg %0" ::"m"(kWholeTiles)); }
  ~TileScope() { __asm__ volatile("tilerelease"); }
  TileScope(const TileScope&) = delete;
  TileScope& operator=(const TileScope&) = delete;
};

using TileMemory = std::byte[kTileBytes];

template <int T>
void tile_zero() {
  __asm__ volatile("tilezero %%tmm%c0" ::"i"(T));
}
template <int T>
void tile_load(const std::byte* p) {
  __asm__ volatile("tileloadd (%0,%1,1), %%tmm%c2" ::"r"(p), "r"(int64_t{64}), "i"(T), "m"(*reinterpret_cast<const TileMemory*>(p)));
}
/// For tiles that come from L2: passes L1 by, which gave 5-20 % more speed than tile_load for them.
template <int T>
void tile_stream(const std::byte* p) {
  __asm__ volatile("tileloaddt1 (%0,%1,1), %%tmm%c2" ::"r"(p), "r"(int64_t{64}), "i"(T), "m"(*reinterpret_cast<const TileMemory*>(p)));
}
template <int T>
void tile_store(std::byte* p) {
  __asm__ volatile("tilestored %%tmm%c3, (%1,%2,1)" : "=m"(*reinterpret_cast<TileMemory*>(p)) : "r"(p), "r"(int64_t{64}), "i"(T));
}
/// 16 cycles, but those of a core that lowers its clock while many bits change: from registers alone 1480 GMAC/s were measured
/// with zeros, and 1200 with random values, which is what a product can be measured by.
/// C[m][n] += sum of A[m][k] B[k/2][n].k over 32 bf16 values k; sums in f32, subnormals count as zero.
template <int C, int A, int B>
void tile_multiply_bf16() {
  __asm__ volatile("tdpbf16ps %%tmm%c2, %%tmm%c1, %%tmm%c0" ::"i"(C), "i"(A), "i"(B));
}
/// C[m][n] += sum of A[m][k] B[k/4][n].k over 64 signed bytes k; sums in int32, in the same 16 cycles.
template <int C, int A, int B>
void tile_multiply_int8() {
  __asm__ volatile("tdpbssd %%tmm%c2, %%tmm%c1, %%tmm%c0" ::"i"(C), "i"(A), "i"(B));
}

}  // namespace KERF_ISA
}  // namespace kerf::cpu
