// The words of backends/gpu/gpu.h for CUDA, sm_75 and later. Tiles are those of mma.sync from sm_80 on.
// Source: CUDA C++ Programming Guide 13.0; PTX ISA 9.0, 9.7.14 (mma, ldmatrix), 9.7.9 (cp.async), 9.7.1 (dp4a).
#pragma once
#include <cuda_fp16.h>
#include <cuda_runtime.h>

#include <cstdint>

#include "backends/gpu/vendor/stream.h"
#include "core/half.h"

#define KERF_GPU_NS cuda
#define KERF_GPU_BACKEND "cuda"
#define KERF_GLOBAL(...) static __global__ void __launch_bounds__(__VA_ARGS__)
#define KERF_DEVICE __device__ __forceinline__
#define KERF_UNROLL _Pragma("unroll")
#define KERF_SHARED(type, name, ...) __shared__ type name __VA_ARGS__
#define KERF_SHARED_DYNAMIC(type, name)                          \
  extern __shared__ __align__(128) unsigned char kerf_dynamic[]; \
  type* name = reinterpret_cast<type*>(kerf_dynamic)

namespace kerf::cuda {

using gpu::launch;
using gpu::Launch;

inline constexpr int kLanes = 32;
inline constexpr int kWave = 32;
inline constexpr unsigned kAll = 0xFFFFFFFF;

KERF_DEVICE unsigned thread_x() { return threadIdx.x; }
KERF_DEVICE unsigned threads_x() { return blockDim.x; }
KERF_DEVICE unsigned block_x() { return blockIdx.x; }
KERF_DEVICE unsigned block_y() { return blockIdx.y; }
KERF_DEVICE unsigned block_z() { return blockIdx.z; }
KERF_DEVICE unsigned blocks_x() { return gridDim.x; }
KERF_DEVICE void block_sync() { __syncthreads(); }
KERF_DEVICE void warp_sync(unsigned mask = kAll) { __syncwarp(mask); }

template <class T>
KERF_DEVICE T shfl(T value, unsigned lane, unsigned mask = kAll) {
  return __shfl_sync(mask, value, static_cast<int>(lane));
}
template <class T>
KERF_DEVICE T shfl_xor(T value, unsigned bits, unsigned mask = kAll) {
  return __shfl_xor_sync(mask, value, static_cast<int>(bits));
}
template <class T>
KERF_DEVICE T shfl_up(T value, unsigned n, unsigned mask = kAll) {
  return __shfl_up_sync(mask, value, n);
}
template <class T>
KERF_DEVICE T shfl_down(T value, unsigned n, unsigned mask = kAll) {
  return __shfl_down_sync(mask, value, n);
}
KERF_DEVICE unsigned ballot(bool mine, unsigned mask = kAll) { return __ballot_sync(mask, mine); }
KERF_DEVICE bool any(bool mine, unsigned mask = kAll) { return __any_sync(mask, mine); }
KERF_DEVICE bool all(bool mine, unsigned mask = kAll) { return __all_sync(mask, mine); }

KERF_DEVICE int dot4(uint32_t a, uint32_t b, int c) { return __dp4a(static_cast<int>(a), static_cast<int>(b), c); }
KERF_DEVICE int dot4_us(uint32_t a, uint32_t b, int c) {
  int d;
  asm("dp4a.u32.s32 %0, %1, %2, %3;" : "=r"(d) : "r"(a), "r"(b), "r"(c));
  return d;
}
/// Four selectors of four bits, in the lower half of a word, choose bytes of two words; three bits of the index choose in each half of
/// the table, the fourth one of what both chose.
KERF_DEVICE uint32_t look_up16(uint32_t t0, uint32_t t1, uint32_t t2, uint32_t t3, uint32_t index) {
  const uint32_t selectors = __byte_perm(index | index >> 4, 0, 0x4420), low = selectors & 0x7777;
  return __byte_perm(__byte_perm(t0, t1, low), __byte_perm(t2, t3, low), 0x3210 | (selectors & 0x8888) >> 1);
}
KERF_DEVICE float from_half(uint16_t bits) { return __half2float(__ushort_as_half(bits)); }
KERF_DEVICE uint16_t to_half(float x) { return __half_as_ushort(__float2half_rn(x)); }
KERF_DEVICE int atomic_add(int* to, int x) { return atomicAdd(to, x); }
KERF_DEVICE float atomic_add(float* to, float x) { return atomicAdd(to, x); }

#if !defined(__CUDA_ARCH__) || __CUDA_ARCH__ >= 800
KERF_DEVICE uint32_t shared_address(const void* p) { return static_cast<uint32_t>(__cvta_generic_to_shared(p)); }
KERF_DEVICE void copy_async16(void* shared, const void* device) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(shared_address(shared)), "l"(device) : "memory");
}
KERF_DEVICE void copy_commit() { asm volatile("cp.async.commit_group;" ::: "memory"); }
template <int keep>
KERF_DEVICE void copy_wait() {
  asm volatile("cp.async.wait_group %0;" ::"n"(keep) : "memory");
}

struct Tile16 {
  static constexpr int n = 8;
  uint32_t r[4];
};
struct Tile8 {
  static constexpr int n = 16;
  uint32_t r[4];
};
template <class Sum>
struct TileSums {
  static constexpr int n = 8;
  Sum e[8];
};
using Sums = TileSums<float>;
using IntSums = TileSums<int32_t>;

/// Four 8 x 8 matrices of 16-bit elements (of 8 x 16 bytes): lane l names the row l % 8 of matrix l / 8.
KERF_DEVICE void load_matrices(uint32_t (&r)[4], const void* row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(shared_address(row))
               : "memory");
}
/// The same, each matrix transposed.
KERF_DEVICE void load_transposed(uint32_t (&r)[4], const void* row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(shared_address(row))
               : "memory");
}
KERF_DEVICE const char* row_of_a(const void* from, int stride_bytes) {
  const unsigned l = threadIdx.x % 32;
  return static_cast<const char*>(from) + l % 16 * static_cast<unsigned>(stride_bytes) + l / 16 * 16;
}
KERF_DEVICE const char* row_of_b(const void* from, int stride_bytes) {
  const unsigned l = threadIdx.x % 32;
  return static_cast<const char*>(from) + (l % 8 + l / 16 * 8) * static_cast<unsigned>(stride_bytes) + l / 8 % 2 * 16;
}
KERF_DEVICE void load_a(Tile16& t, const uint16_t* from, int stride) { load_matrices(t.r, row_of_a(from, 2 * stride)); }
KERF_DEVICE void load_b(Tile16& t, const uint16_t* from, int stride) { load_matrices(t.r, row_of_b(from, 2 * stride)); }
/// Rows of memory are k here, so the four matrices come in the order of a's: k 0-7 and 8-15 of columns 0-7, then of 8-15.
KERF_DEVICE void load_bt(Tile16& t, const uint16_t* from, int stride) { load_transposed(t.r, row_of_a(from, 2 * stride)); }
KERF_DEVICE void load_a(Tile8& t, const int8_t* from, int stride) { load_matrices(t.r, row_of_a(from, stride)); }
KERF_DEVICE void load_b(Tile8& t, const int8_t* from, int stride) { load_matrices(t.r, row_of_b(from, stride)); }

KERF_DEVICE void mma_f16(Sums& c, const Tile16& a, const Tile16& b) {
  KERF_UNROLL
  for (int h = 0; h < 2; ++h)
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
                 : "+f"(c.e[4 * h]), "+f"(c.e[4 * h + 1]), "+f"(c.e[4 * h + 2]), "+f"(c.e[4 * h + 3])
                 : "r"(a.r[0]), "r"(a.r[1]), "r"(a.r[2]), "r"(a.r[3]), "r"(b.r[2 * h]), "r"(b.r[2 * h + 1]));
}
KERF_DEVICE void mma_bf16(Sums& c, const Tile16& a, const Tile16& b) {
  KERF_UNROLL
  for (int h = 0; h < 2; ++h)
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
                 : "+f"(c.e[4 * h]), "+f"(c.e[4 * h + 1]), "+f"(c.e[4 * h + 2]), "+f"(c.e[4 * h + 3])
                 : "r"(a.r[0]), "r"(a.r[1]), "r"(a.r[2]), "r"(a.r[3]), "r"(b.r[2 * h]), "r"(b.r[2 * h + 1]));
}
KERF_DEVICE void mma_s8(IntSums& c, const Tile8& a, const Tile8& b) {
  KERF_UNROLL
  for (int h = 0; h < 2; ++h)
    asm volatile("mma.sync.aligned.m16n8k32.row.col.s32.s8.s8.s32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
                 : "+r"(c.e[4 * h]), "+r"(c.e[4 * h + 1]), "+r"(c.e[4 * h + 2]), "+r"(c.e[4 * h + 3])
                 : "r"(a.r[0]), "r"(a.r[1]), "r"(a.r[2]), "r"(a.r[3]), "r"(b.r[2 * h]), "r"(b.r[2 * h + 1]));
}
template <int half>
KERF_DEVICE void mma_s8_half(IntSums& c, const Tile8& a, const Tile8& b) {
  KERF_UNROLL
  for (int h = 0; h < 2; ++h)
    asm volatile("mma.sync.aligned.m16n8k16.row.col.s32.s8.s8.s32 {%0, %1, %2, %3}, {%4, %5}, {%6}, {%0, %1, %2, %3};"
                 : "+r"(c.e[4 * h]), "+r"(c.e[4 * h + 1]), "+r"(c.e[4 * h + 2]), "+r"(c.e[4 * h + 3])
                 : "r"(a.r[2 * half]), "r"(a.r[2 * half + 1]), "r"(b.r[2 * h + half]));
}
inline constexpr int kRowLanes = 4;
constexpr int first_in_row(int e) { return e / 2 % 2 * 2; }
template <class S, class F>
KERF_DEVICE void for_each(S& tile, F&& f) {
  const int l = static_cast<int>(threadIdx.x % 32);
  KERF_UNROLL
  for (int e = 0; e < 8; ++e) f(l / 4 + e / 2 % 2 * 8, l % 4 * 2 + e % 2 + e / 4 * 8, tile.e[e]);
}
#else  // Turing has neither cp.async nor these tiles
KERF_DEVICE void copy_async16(void* shared, const void* device) { *static_cast<int4*>(shared) = *static_cast<const int4*>(device); }
KERF_DEVICE void copy_commit() {}
template <int keep>
KERF_DEVICE void copy_wait() {}
#include "backends/gpu/vendor/tile_software.h"
#endif

}  // namespace kerf::cuda
