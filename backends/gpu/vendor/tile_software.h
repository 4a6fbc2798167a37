// Tiles for GPUs without a matrix unit for them: the layout of PTX's m16n8k16 and m16n8k32, 32 lanes, the product by shuffles and
// fma. Right, and slow: kernels with tiles are not what such a GPU should run.
#pragma once
// Included by a vendor's header, inside its namespace.

struct SoftTile16 {
  static constexpr int n = 8;
  uint32_t r[4];
};
struct SoftTile8 {
  static constexpr int n = 16;
  uint32_t r[4];
};
template <class Sum>
struct SoftSums {
  static constexpr int n = 8;
  Sum e[8];
};

KERF_DEVICE int soft_row(int e) { return static_cast<int>(thread_x() % 32) / 4 + e / 2 % 2 * 8; }
KERF_DEVICE int soft_column(int e) { return static_cast<int>(thread_x() % 32) % 4 * 2 + e % 2 + e / 4 * 8; }

/// Register r of lane l: A has row l / 4 + (r % 2) * 8 and k from (l % 4) * (4 bytes) + (r / 2) * (16 bytes); of B those two are exchanged.
KERF_DEVICE void soft_load(uint32_t (&r)[4], const void* from, int stride_bytes, bool is_b) {
  const int l = static_cast<int>(thread_x() % 32);
  for (int i = 0; i < 4; ++i) {
    const int row = l / 4 + (is_b ? i / 2 : i % 2) * 8, byte = l % 4 * 4 + (is_b ? i % 2 : i / 2) * 16;
    r[i] = *reinterpret_cast<const uint32_t*>(static_cast<const char*>(from) + row * stride_bytes + byte);
  }
}

/// Register r of B where rows of memory are k.
KERF_DEVICE void soft_load_transposed(uint32_t (&r)[4], const uint16_t* from, int stride) {
  const int l = static_cast<int>(thread_x() % 32);
  for (int i = 0; i < 4; ++i) {
    const uint16_t* at = from + (l % 4 * 2 + i % 2 * 8) * stride + l / 4 + i / 2 * 8;
    r[i] = at[0] | static_cast<uint32_t>(at[stride]) << 16;
  }
}

/// sum(e, a, b) adds the products of the values in four bytes of A and of B to element e.
template <class Sum, class Products>
KERF_DEVICE void soft_multiply(SoftSums<Sum>& c, const uint32_t (&a)[4], const uint32_t (&b)[4], Products&& products) {
  for (int e = 0; e < 8; ++e)
    for (int half = 0; half < 2; ++half)
      for (int part = 0; part < 4; ++part) {
        // Each lane asks for its own row and column, in registers that are the same for all lanes.
        const unsigned from_a = static_cast<unsigned>(soft_row(e) % 8 * 4 + part), from_b = static_cast<unsigned>(soft_column(e) % 8 * 4 + part);
        const uint32_t x = shfl(a[e / 2 % 2 + 2 * half], from_a), y = shfl(b[e / 4 * 2 + half], from_b);
        c.e[e] = products(c.e[e], x, y);
      }
}

using Tile16 = SoftTile16;
using Tile8 = SoftTile8;
using Sums = SoftSums<float>;
using IntSums = SoftSums<int32_t>;

KERF_DEVICE void load_a(Tile16& t, const uint16_t* from, int stride) { soft_load(t.r, from, 2 * stride, false); }
KERF_DEVICE void load_b(Tile16& t, const uint16_t* from, int stride) { soft_load(t.r, from, 2 * stride, true); }
KERF_DEVICE void load_bt(Tile16& t, const uint16_t* from, int stride) { soft_load_transposed(t.r, from, stride); }
KERF_DEVICE void load_a(Tile8& t, const int8_t* from, int stride) { soft_load(t.r, from, stride, false); }
KERF_DEVICE void load_b(Tile8& t, const int8_t* from, int stride) { soft_load(t.r, from, stride, true); }
// Functions, not inlined: a kernel has dozens of these products, each of 64 shuffles and more; a compiler needs minutes for them.
__device__ __noinline__ static void mma_f16(Sums& c, const Tile16& a, const Tile16& b) {
  soft_multiply(c, a.r, b.r, [](float sum, uint32_t x, uint32_t y) {
    sum = fmaf(from_half(static_cast<uint16_t>(x)), from_half(static_cast<uint16_t>(y)), sum);
    return fmaf(from_half(static_cast<uint16_t>(x >> 16)), from_half(static_cast<uint16_t>(y >> 16)), sum);
  });
}
__device__ __noinline__ static void mma_bf16(Sums& c, const Tile16& a, const Tile16& b) {
  soft_multiply(c, a.r, b.r, [](float sum, uint32_t x, uint32_t y) {
    sum = fmaf(bf16_to_float(static_cast<uint16_t>(x)), bf16_to_float(static_cast<uint16_t>(y)), sum);
    return fmaf(bf16_to_float(static_cast<uint16_t>(x >> 16)), bf16_to_float(static_cast<uint16_t>(y >> 16)), sum);
  });
}
__device__ __noinline__ static void mma_s8(IntSums& c, const Tile8& a, const Tile8& b) {
  soft_multiply(c, a.r, b.r, [](int32_t sum, uint32_t x, uint32_t y) { return dot4(x, y, sum); });
}
template <int half>
KERF_DEVICE void mma_s8_half(IntSums& c, const Tile8& a, const Tile8& b) {
  Tile8 of = {};
  for (int i = 0; i < 2; ++i) of.r[2 * half + i] = a.r[2 * half + i];
  mma_s8(c, of, b);
}
inline constexpr int kRowLanes = 4;
constexpr int first_in_row(int e) { return e / 2 % 2 * 2; }
template <class S, class F>
KERF_DEVICE void for_each(S& tile, F&& f) {
  for (int e = 0; e < 8; ++e) f(soft_row(e), soft_column(e), tile.e[e]);
}
