// The words of backends/gpu/gpu.h for HIP: gfx906 and gfx90a (waves of 64 lanes; matrix cores on gfx90a), gfx1030 (32, none),
// gfx1100 (32, WMMA). Shuffles and votes are of 32 lanes everywhere: half a wave where waves have 64.
// Source: HIP Programming Guide 5.2; "AMD Instinct MI200" ISA 2022, 7 (MFMA); "RDNA3" ISA 2023, 7.9 (WMMA).
#pragma once
#include <hip/hip_fp16.h>
#include <hip/hip_runtime.h>

#include <cstdint>

#include "backends/gpu/vendor/stream.h"
#include "core/half.h"

#define KERF_GPU_NS hip
#define KERF_GPU_BACKEND "hip"
#define KERF_GLOBAL(threads, ...) static __global__ void __launch_bounds__(threads)  // its second number counts waves, not blocks
#define KERF_DEVICE __device__ __forceinline__
#define KERF_UNROLL _Pragma("unroll")
#define KERF_SHARED(type, name, ...) __shared__ type name __VA_ARGS__
#define KERF_SHARED_DYNAMIC(type, name)                          \
  extern __shared__ __align__(128) unsigned char kerf_dynamic[]; \
  type* name = reinterpret_cast<type*>(kerf_dynamic)

namespace kerf::hip {

using gpu::launch;
using gpu::Launch;

inline constexpr int kLanes = 32;
inline constexpr unsigned kAll = 0xFFFFFFFF;

KERF_DEVICE unsigned thread_x() { return threadIdx.x; }
KERF_DEVICE unsigned threads_x() { return blockDim.x; }
KERF_DEVICE unsigned block_x() { return blockIdx.x; }
KERF_DEVICE unsigned block_y() { return blockIdx.y; }
KERF_DEVICE unsigned block_z() { return blockIdx.z; }
KERF_DEVICE unsigned blocks_x() { return gridDim.x; }
KERF_DEVICE void block_sync() { __syncthreads(); }
/// A wave runs in step; the fences keep the compiler from moving memory accesses across.
KERF_DEVICE void warp_sync(unsigned = kAll) {
  __builtin_amdgcn_fence(__ATOMIC_RELEASE, "wavefront");
  __builtin_amdgcn_wave_barrier();
  __builtin_amdgcn_fence(__ATOMIC_ACQUIRE, "wavefront");
}

template <class T>
KERF_DEVICE T shfl(T value, unsigned lane, unsigned = kAll) {
  return __shfl(value, static_cast<int>(lane), kLanes);
}
template <class T>
KERF_DEVICE T shfl_xor(T value, unsigned bits, unsigned = kAll) {
  return __shfl_xor(value, static_cast<int>(bits), kLanes);
}
template <class T>
KERF_DEVICE T shfl_up(T value, unsigned n, unsigned = kAll) {
  return __shfl_up(value, n, kLanes);
}
template <class T>
KERF_DEVICE T shfl_down(T value, unsigned n, unsigned = kAll) {
  return __shfl_down(value, n, kLanes);
}
/// Of the half of the wave that this lane is in.
KERF_DEVICE unsigned ballot(bool mine, unsigned mask = kAll) { return static_cast<unsigned>(__ballot(mine) >> (__lane_id() & 32)) & mask; }
KERF_DEVICE bool any(bool mine, unsigned mask = kAll) { return ballot(mine, mask) != 0; }
KERF_DEVICE bool all(bool mine, unsigned mask = kAll) { return ballot(!mine, mask) == 0; }

#if defined(__gfx1100__) || defined(__gfx1101__) || defined(__gfx1102__)
KERF_DEVICE int dot4(uint32_t a, uint32_t b, int c) {
  return __builtin_amdgcn_sudot4(true, static_cast<int>(a), true, static_cast<int>(b), c, false);
}
KERF_DEVICE int dot4_us(uint32_t a, uint32_t b, int c) {
  return __builtin_amdgcn_sudot4(false, static_cast<int>(a), true, static_cast<int>(b), c, false);
}
#else
KERF_DEVICE int dot4(uint32_t a, uint32_t b, int c) { return __builtin_amdgcn_sdot4(static_cast<int>(a), static_cast<int>(b), c, false); }
/// Both operands are signed here: the low seven bits of a, and 128 times the eighth.
KERF_DEVICE int dot4_us(uint32_t a, uint32_t b, int c) { return dot4(a & 0x7F7F7F7F, b, c) + 128 * dot4(a >> 7 & 0x01010101, b, 0); }
#endif
/// Selectors are bytes here: 0 to 3 of the second operand, 4 to 7 of the first.
KERF_DEVICE uint32_t look_up16(uint32_t t0, uint32_t t1, uint32_t t2, uint32_t t3, uint32_t index) {
  const uint32_t low = index & 0x07070707;
  return __builtin_amdgcn_perm(__builtin_amdgcn_perm(t3, t2, low), __builtin_amdgcn_perm(t1, t0, low), 0x03020100 | (index & 0x08080808) >> 1);
}
KERF_DEVICE float from_half(uint16_t bits) { return __half2float(__ushort_as_half(bits)); }
KERF_DEVICE uint16_t to_half(float x) { return __half_as_ushort(__float2half_rn(x)); }
KERF_DEVICE int atomic_add(int* to, int x) { return atomicAdd(to, x); }
KERF_DEVICE float atomic_add(float* to, float x) { return atomicAdd(to, x); }

/// No asynchronous copies on these: they are there at once.
KERF_DEVICE void copy_async16(void* shared, const void* device) { *static_cast<int4*>(shared) = *static_cast<const int4*>(device); }
KERF_DEVICE void copy_commit() {}
template <int keep>
KERF_DEVICE void copy_wait() {}

#if defined(__gfx90a__) || defined(__gfx908__) || defined(__gfx940__)
inline constexpr int kWave = 64;

struct Tile16 {
  static constexpr int n = 4;
  uint32_t r[2];
};
struct Tile8 {
  static constexpr int n = 8;
  int32_t r[2];
};
template <class Sum>
struct TileSums {
  static constexpr int n = 4;
  Sum e[4];
};
using Sums = TileSums<float>;
using IntSums = TileSums<int32_t>;

KERF_DEVICE void load_a(Tile16& t, const uint16_t* from, int stride) {
  const int l = static_cast<int>(threadIdx.x % 64);
  const auto* at = reinterpret_cast<const uint32_t*>(from + l % 16 * stride + l / 16 * 4);
  t.r[0] = at[0];
  t.r[1] = at[1];
}
KERF_DEVICE void load_b(Tile16& t, const uint16_t* from, int stride) { load_a(t, from, stride); }
KERF_DEVICE void load_bt(Tile16& t, const uint16_t* from, int stride) {
  const int l = static_cast<int>(threadIdx.x % 64);
  const uint16_t* at = from + l / 16 * 4 * stride + l % 16;
  for (int i = 0; i < 2; ++i) t.r[i] = at[2 * i * stride] | static_cast<uint32_t>(at[(2 * i + 1) * stride]) << 16;
}
KERF_DEVICE void load_a(Tile8& t, const int8_t* from, int stride) {
  const int l = static_cast<int>(threadIdx.x % 64);
  const int8_t* at = from + l % 16 * stride + l / 16 * 4;
  t.r[0] = *reinterpret_cast<const int32_t*>(at);
  t.r[1] = *reinterpret_cast<const int32_t*>(at + 16);
}
KERF_DEVICE void load_b(Tile8& t, const int8_t* from, int stride) { load_a(t, from, stride); }

using Float4 = float __attribute__((ext_vector_type(4)));
using Int4 = int __attribute__((ext_vector_type(4)));
using Half4 = _Float16 __attribute__((ext_vector_type(4)));
using Short4 = short __attribute__((ext_vector_type(4)));

template <class Vector>
KERF_DEVICE void multiply_tiles(Sums& c, const Tile16& a, const Tile16& b) {
  Float4 sums{c.e[0], c.e[1], c.e[2], c.e[3]};
  const auto x = __builtin_bit_cast(Vector, a), y = __builtin_bit_cast(Vector, b);
#if defined(__gfx908__)
  static_assert(sizeof(Vector) == 8);
  sums = __builtin_amdgcn_mfma_f32_16x16x16f16(__builtin_bit_cast(Half4, x), __builtin_bit_cast(Half4, y), sums, 0, 0, 0);
#else
  if constexpr (__is_same(Vector, Half4))
    sums = __builtin_amdgcn_mfma_f32_16x16x16f16(x, y, sums, 0, 0, 0);
  else
    sums = __builtin_amdgcn_mfma_f32_16x16x16bf16_1k(x, y, sums, 0, 0, 0);
#endif
  for (int e = 0; e < 4; ++e) c.e[e] = sums[e];
}
KERF_DEVICE void mma_f16(Sums& c, const Tile16& a, const Tile16& b) { multiply_tiles<Half4>(c, a, b); }
KERF_DEVICE void mma_bf16(Sums& c, const Tile16& a, const Tile16& b) { multiply_tiles<Short4>(c, a, b); }
KERF_DEVICE void mma_s8(IntSums& c, const Tile8& a, const Tile8& b) {
  Int4 sums{c.e[0], c.e[1], c.e[2], c.e[3]};
  for (int h = 0; h < 2; ++h) sums = __builtin_amdgcn_mfma_i32_16x16x16i8(a.r[h], b.r[h], sums, 0, 0, 0);
  for (int e = 0; e < 4; ++e) c.e[e] = sums[e];
}
template <int half>
KERF_DEVICE void mma_s8_half(IntSums& c, const Tile8& a, const Tile8& b) {
  const Int4 sums = __builtin_amdgcn_mfma_i32_16x16x16i8(a.r[half], b.r[half], Int4{c.e[0], c.e[1], c.e[2], c.e[3]}, 0, 0, 0);
  for (int e = 0; e < 4; ++e) c.e[e] = sums[e];
}
inline constexpr int kRowLanes = 16;
constexpr int first_in_row(int e) { return e; }
template <class S, class F>
KERF_DEVICE void for_each(S& tile, F&& f) {
  const int l = static_cast<int>(threadIdx.x % 64);
  KERF_UNROLL
  for (int e = 0; e < 4; ++e) f(l / 16 * 4 + e, l % 16, tile.e[e]);
}
#elif defined(__gfx1100__) || defined(__gfx1101__) || defined(__gfx1102__)
inline constexpr int kWave = 32;

/// Lane l has row l % 16 of A, or column l % 16 of B, whole; lanes 16 to 31 the same again.
struct Tile16 {
  static constexpr int n = 16;
  uint32_t r[8];
};
struct Tile8 {
  static constexpr int n = 32;
  uint32_t r[8];
};
template <class Sum>
struct TileSums {
  static constexpr int n = 8;
  Sum e[8];
};
using Sums = TileSums<float>;
using IntSums = TileSums<int32_t>;

KERF_DEVICE void load_row(uint32_t (&r)[8], const void* from, int stride_bytes) {
  const auto* at = reinterpret_cast<const uint32_t*>(static_cast<const char*>(from) + threadIdx.x % 16 * static_cast<unsigned>(stride_bytes));
  KERF_UNROLL
  for (int i = 0; i < 8; ++i) r[i] = at[i];
}
KERF_DEVICE void load_a(Tile16& t, const uint16_t* from, int stride) { load_row(t.r, from, 2 * stride); }
KERF_DEVICE void load_b(Tile16& t, const uint16_t* from, int stride) { load_row(t.r, from, 2 * stride); }
KERF_DEVICE void load_bt(Tile16& t, const uint16_t* from, int stride) {
  const uint16_t* at = from + threadIdx.x % 16;
  KERF_UNROLL
  for (int i = 0; i < 8; ++i) t.r[i] = at[2 * i * stride] | static_cast<uint32_t>(at[(2 * i + 1) * stride]) << 16;
}
KERF_DEVICE void load_a(Tile8& t, const int8_t* from, int stride) { load_row(t.r, from, stride); }
KERF_DEVICE void load_b(Tile8& t, const int8_t* from, int stride) { load_row(t.r, from, stride); }

using Float8 = float __attribute__((ext_vector_type(8)));
using Int8 = int __attribute__((ext_vector_type(8)));
using Int4 = int __attribute__((ext_vector_type(4)));
using Half16 = _Float16 __attribute__((ext_vector_type(16)));
using Short16 = short __attribute__((ext_vector_type(16)));

KERF_DEVICE void mma_f16(Sums& c, const Tile16& a, const Tile16& b) {
  c = __builtin_bit_cast(
      Sums, __builtin_amdgcn_wmma_f32_16x16x16_f16_w32(__builtin_bit_cast(Half16, a), __builtin_bit_cast(Half16, b), __builtin_bit_cast(Float8, c)));
}
KERF_DEVICE void mma_bf16(Sums& c, const Tile16& a, const Tile16& b) {
  c = __builtin_bit_cast(Sums, __builtin_amdgcn_wmma_f32_16x16x16_bf16_w32(__builtin_bit_cast(Short16, a), __builtin_bit_cast(Short16, b),
                                                                           __builtin_bit_cast(Float8, c)));
}
template <int half>
KERF_DEVICE void mma_s8_half(IntSums& c, const Tile8& a, const Tile8& b) {
  struct Halves {
    Int4 of[2];
  };
  const auto x = __builtin_bit_cast(Halves, a), y = __builtin_bit_cast(Halves, b);
  c = __builtin_bit_cast(IntSums, __builtin_amdgcn_wmma_i32_16x16x16_iu8_w32(true, x.of[half], true, y.of[half], __builtin_bit_cast(Int8, c), false));
}
KERF_DEVICE void mma_s8(IntSums& c, const Tile8& a, const Tile8& b) {
  mma_s8_half<0>(c, a, b);
  mma_s8_half<1>(c, a, b);
}
inline constexpr int kRowLanes = 16;
constexpr int first_in_row(int e) { return e; }
template <class S, class F>
KERF_DEVICE void for_each(S& tile, F&& f) {
  const int l = static_cast<int>(threadIdx.x % 32);
  KERF_UNROLL
  for (int e = 0; e < 8; ++e) f(2 * e + l / 16, l % 16, tile.e[e]);
}
#else  // no matrix unit; and the host's side, which executes none of this
inline constexpr int kWave = 32;
#include "backends/gpu/vendor/tile_software.h"
#endif

}  // namespace kerf::hip
