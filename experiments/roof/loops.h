// The innermost loops that `kerf roof` times: what one core can do at most when nothing but one unit, or one cache, is in
// the way. One file per instruction set, so that each is compiled with its own flags (cmake/kernels.cmake).
#pragma once
#include <cstddef>
#include <cstdint>

namespace kerf::roof {

/// Bytes that every loop over memory takes at once per stream; slices are multiples of kMaxStreams of them.
constexpr int64_t kReadStep = 512;
constexpr int kMaxStreams = 4;

/// Reads [p, p + bytes) `passes` times as `streams` (1 or 4) runs side by side, each line prefetched `ahead` bytes before
/// its use if ahead > 0. Reads only: decoding a token does not write to speak of. p lies on 64 bytes.
using Read = void (*)(const std::byte* p, int64_t bytes, int64_t passes, int streams, int64_t ahead);
void read_sse2(const std::byte* p, int64_t bytes, int64_t passes, int streams, int64_t ahead);
void read_avx2(const std::byte* p, int64_t bytes, int64_t passes, int streams, int64_t ahead);
void read_avx512(const std::byte* p, int64_t bytes, int64_t passes, int streams, int64_t ahead);

/// n steps of one arithmetic unit on registers, in enough independent chains to cover its latency.
/// @return something that depends on all of them
using Spin = float (*)(int64_t n);
constexpr int kChains = 12;        // registers that accumulate in vector loops: two units of latency 4, and some to spare
constexpr int kIntegerChains = 4;  // where one step takes several instructions, and SSE2 and AVX2 have 16 registers
constexpr int kTileChains = 4;     // accumulator tiles: four products of 16 cycles cover a latency of 52
float fp32_sse2(int64_t n);        // kChains of 4 multiplications and 4 additions
float fp32_avx2(int64_t n);        // kChains FMAs of 8
float fp32_avx512(int64_t n);      // of 16
float int8_sse2(int64_t n);        // kIntegerChains of 8 products (PMADDWD, 16-bit)
float int8_avx2(int64_t n);        // of 32 (VPMADDUBSW, VPMADDWD, VPADDD)
float int8_avx512(int64_t n);      // of 64
float int8_vnni(int64_t n);        // kChains of 64 (VPDPBUSD)
float bf16_dot(int64_t n);         // kChains of 32 (VDPBF16PS)
float bf16_amx(int64_t n);         // kTileChains of 16 x 16 x 32 (TDPBF16PS)
float int8_amx(int64_t n);         // of 16 x 16 x 64 (TDPBSSD)

/// A block of 2 x 2 tiles as a matmul computes it, fed from memory: each 4 KiB of [tiles, tiles + bytes) are two tiles of
/// one operand and two of the other, and four products use them. `passes` times over the same bytes.
using Fed = float (*)(const std::byte* tiles, int64_t bytes, int64_t passes);
float bf16_amx_fed(const std::byte* tiles, int64_t bytes, int64_t passes);

/// Sum of exp(x[i]) over n values (a multiple of 64), by attention's exp_nonpositive (attention/flash.h).
using Exp = float (*)(const float* x, int64_t n);
float exp_avx2(const float* x, int64_t n);
float exp_avx512(const float* x, int64_t n);

}  // namespace kerf::roof
