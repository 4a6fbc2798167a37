// The words of backends/gpu/gpu.h on the emulator (backends/gpu/simt). KERF_EMU_WAVE is 32 or 64 lanes, chosen by the build: the
// same kernels are compiled for both, into kerf::emu with NVIDIA's tiles and kerf::emu64 with those of AMD's CDNA.
#pragma once
#include <cmath>
#include <cstdint>
#include <cstring>
#include <string_view>

#include "backends/gpu/simt/queue.h"
#include "backends/gpu/simt/tiles.h"
#include "core/error.h"

#if KERF_EMU_WAVE == 64
#define KERF_GPU_NS emu64
#define KERF_GPU_BACKEND "emu64"
#else
#define KERF_GPU_NS emu
#define KERF_GPU_BACKEND "emu"
#endif

#define KERF_GLOBAL(...) static void
#define KERF_DEVICE inline
#define KERF_UNROLL
#define KERF_SHARED(type, name, ...)    \
  using name##_type = type __VA_ARGS__; \
  static constexpr char name##_key = 0; \
  name##_type& name = *static_cast<name##_type*>(::kerf::simt::Block::current().shared(&name##_key, sizeof(name##_type), alignof(name##_type), #name))
#define KERF_SHARED_DYNAMIC(type, name) type* name = reinterpret_cast<type*>(::kerf::simt::Block::current().dynamic_shared())

namespace kerf::KERF_GPU_NS {

inline constexpr int kLanes = 32;             // of shuffles and votes
inline constexpr int kWave = KERF_EMU_WAVE;   // of a tile
inline constexpr unsigned kAll = 0xFFFFFFFF;  // lanes of a mask
using simt::Where;

inline simt::Block& self() { return simt::Block::current(); }
inline unsigned thread_x() { return self().thread(); }
inline unsigned threads_x() { return self().threads(); }
inline unsigned block_x() { return self().index().x; }
inline unsigned block_y() { return self().index().y; }
inline unsigned block_z() { return self().index().z; }
inline unsigned blocks_x() { return self().blocks().x; }

inline void block_sync(Where where = Where::current()) { self().barrier(where); }
inline void warp_sync(unsigned mask = kAll, Where where = Where::current()) {
  self().together({.name = "warp_sync", .mask = mask, .where = where, .orders_memory = true}, kLanes);
}

template <class T>
struct Exchange {
  T in, out;
  unsigned from;
};
/// A lane that takes no part has no value: what is read from it is undefined.
template <class T>
void exchange(void* const* lanes, unsigned n) {
  const auto lane = [&](unsigned l) { return static_cast<Exchange<T>*>(lanes[l]); };
  for (unsigned l = 0; l < n; ++l) {
    if (!lanes[l]) continue;
    const unsigned from = lane(l)->from;
    if (from < n && lanes[from])
      lane(l)->out = lane(from)->in;
    else
      std::memset(static_cast<void*>(&lane(l)->out), 0xFF, sizeof(T));
  }
}
template <class T>
T exchanged(std::string_view name, T value, unsigned from, unsigned mask, Where where) {
  Exchange<T> e{value, value, from};
  self().together({.name = name, .mask = mask, .data = &e, .execute = exchange<T>, .where = where}, kLanes);
  return e.out;
}
template <class T>
T shfl(T value, unsigned lane, unsigned mask = kAll, Where where = Where::current()) {
  return exchanged("shfl", value, lane % kLanes, mask, where);
}
template <class T>
T shfl_xor(T value, unsigned bits, unsigned mask = kAll, Where where = Where::current()) {
  return exchanged("shfl_xor", value, thread_x() % kLanes ^ bits, mask, where);
}
/// From the lane `n` below, above; a lane that has none there keeps its own.
template <class T>
T shfl_up(T value, unsigned n, unsigned mask = kAll, Where where = Where::current()) {
  const unsigned lane = thread_x() % kLanes;
  return exchanged("shfl_up", value, lane < n ? lane : lane - n, mask, where);
}
template <class T>
T shfl_down(T value, unsigned n, unsigned mask = kAll, Where where = Where::current()) {
  const unsigned lane = thread_x() % kLanes;
  return exchanged("shfl_down", value, lane + n < kLanes ? lane + n : lane, mask, where);
}

struct Vote {
  bool mine;
  unsigned all;
};
inline void count_votes(void* const* lanes, unsigned n) {
  unsigned votes = 0;
  for (unsigned l = 0; l < n; ++l)
    if (lanes[l] && static_cast<Vote*>(lanes[l])->mine) votes |= 1u << l;
  for (unsigned l = 0; l < n; ++l)
    if (lanes[l]) static_cast<Vote*>(lanes[l])->all = votes;
}
/// Bit l: what lane l says.
inline unsigned ballot(bool mine, unsigned mask = kAll, Where where = Where::current()) {
  Vote v{mine, 0};
  self().together({.name = "ballot", .mask = mask, .data = &v, .execute = count_votes, .where = where}, kLanes);
  return v.all;
}
inline bool any(bool mine, unsigned mask = kAll, Where where = Where::current()) { return ballot(mine, mask, where) != 0; }
inline bool all(bool mine, unsigned mask = kAll, Where where = Where::current()) { return ballot(!mine, mask, where) == 0; }

/// c + the four products of signed bytes.
inline int dot4(uint32_t a, uint32_t b, int c) {
  for (int i = 0; i < 32; i += 8) c += static_cast<int8_t>(a >> i) * static_cast<int8_t>(b >> i);
  return c;
}
/// The bytes of a are unsigned.
inline int dot4_us(uint32_t a, uint32_t b, int c) {
  for (int i = 0; i < 32; i += 8) c += static_cast<uint8_t>(a >> i) * static_cast<int8_t>(b >> i);
  return c;
}
/// Byte i: the entry of a table of sixteen bytes, t0's lowest byte first, that byte i of `index` (0 .. 15) names.
inline uint32_t look_up16(uint32_t t0, uint32_t t1, uint32_t t2, uint32_t t3, uint32_t index) {
  const uint32_t table[] = {t0, t1, t2, t3};
  uint32_t bytes = 0;
  for (int i = 0; i < 32; i += 8) bytes |= (table[index >> i >> 2 & 3] >> (8 * (index >> i & 3)) & 0xFF) << i;
  return bytes;
}
inline float from_half(uint16_t bits) { return half_to_float(bits); }
inline uint16_t to_half(float x) { return float_to_half(x); }
/// Adds, and returns what was there. Relaxed: orders no other memory.
inline int atomic_add(int* to, int x) { return __atomic_fetch_add(to, x, __ATOMIC_RELAXED); }
inline float atomic_add(float* to, float x) {
  uint32_t bits = __atomic_load_n(reinterpret_cast<uint32_t*>(to), __ATOMIC_RELAXED);
  for (;;) {
    const float was = std::bit_cast<float>(bits);
    if (__atomic_compare_exchange_n(reinterpret_cast<uint32_t*>(to), &bits, std::bit_cast<uint32_t>(was + x), false, __ATOMIC_RELAXED,
                                    __ATOMIC_RELAXED))
      return was;
  }
}

/// Sixteen bytes from device to shared memory, both addresses multiples of 16. They are there after copy_wait and, for other
/// threads, a barrier.
inline void copy_async16(void* shared, const void* device) { self().copy_async(shared, device, 16); }
inline void copy_commit() { self().copy_commit(); }
template <int keep>
void copy_wait() {
  self().copy_wait(keep);
}

using Layout = std::conditional_t<kWave == 64, simt::Mfma, simt::Ptx>;
using Tile16 = simt::Operand<Layout, uint16_t>;  // f16 or bf16: 16 rows of 16 values
using Tile8 = simt::Operand<Layout, int8_t>;     // 16 rows of 32 values
using Sums = simt::Result<Layout, float>;        // 16 x 16
using IntSums = simt::Result<Layout, int32_t>;

/// `along` elements lead from k to k + 1, `across` from one row (column of B) to the next; one of them is 1.
template <class T, class E>
void load_tile(T& t, const E* from, int across, int along, simt::At (*at)(int lane, int e)) {
  self().need_aligned(from, 16, "load of a tile");
  self().need_aligned(from + across * along, 16, "load of a tile");
  for (int e = 0; e < T::n; ++e) {
    const auto where = at(static_cast<int>(thread_x() % kWave), e);
    t.e[e] = from[where.row * across + where.col * along];
  }
}
/// From shared memory: rows begin at `from`, `stride` elements apart, each at a multiple of 16 bytes.
inline void load_a(Tile16& t, const uint16_t* from, int stride) { load_tile(t, from, stride, 1, Layout::a16); }
inline void load_b(Tile16& t, const uint16_t* from, int stride) { load_tile(t, from, stride, 1, Layout::b16); }
/// B from 16 rows of k, each of 16 columns.
inline void load_bt(Tile16& t, const uint16_t* from, int stride) { load_tile(t, from, 1, stride, Layout::b16); }
inline void load_a(Tile8& t, const int8_t* from, int stride) { load_tile(t, from, stride, 1, Layout::a8); }
inline void load_b(Tile8& t, const int8_t* from, int stride) { load_tile(t, from, stride, 1, Layout::b8); }

template <class T, class Value, class S>
void multiply_tiles(std::string_view name, S& c, const T& a, const T& b, Where where) {
  using Sum = std::remove_reference_t<decltype(c.e[0])>;
  using Element = std::remove_reference_t<decltype(T{}.e[0])>;
  simt::Product<Layout, Element, Sum> p{&c, &a, &b};
  self().together({.name = name,
                   .mask = kWave == 64 ? ~uint64_t{0} : kAll,
                   .data = &p,
                   .execute = simt::multiply<Layout, Element, Sum, Value>,
                   .where = where,
                   .needs_all = true},
                  kWave);
}
/// c += a b^T, for the whole wave.
inline void mma_f16(Sums& c, const Tile16& a, const Tile16& b, Where where = Where::current()) {
  multiply_tiles<Tile16, simt::HalfBits>("mma_f16", c, a, b, where);
}
inline void mma_bf16(Sums& c, const Tile16& a, const Tile16& b, Where where = Where::current()) {
  multiply_tiles<Tile16, simt::Bf16Bits>("mma_bf16", c, a, b, where);
}
inline void mma_s8(IntSums& c, const Tile8& a, const Tile8& b, Where where = Where::current()) {
  multiply_tiles<Tile8, simt::Integer>("mma_s8", c, a, b, where);
}
/// Of the first or the second sixteen k values alone.
template <int half>
void mma_s8_half(IntSums& c, const Tile8& a, const Tile8& b, Where where = Where::current()) {
  Tile8 of = a;
  for (int e = 0; e < Tile8::n; ++e)
    if (Layout::a8(static_cast<int>(thread_x() % kWave), e).col / 16 != half) of.e[e] = 0;
  multiply_tiles<Tile8, simt::Integer>("mma_s8_half", c, of, b, where);
}
inline constexpr int kRowLanes = Layout::row_lanes;
constexpr int first_in_row(int e) { return Layout::first_in_row(e); }
/// f(row, column, element) for each element of the tile that this lane holds.
template <class S, class F>
void for_each(S& tile, F&& f) {
  for (int e = 0; e < S::n; ++e) {
    const auto at = Layout::c(static_cast<int>(thread_x() % kWave), e);
    f(at.row, at.col, tile.e[e]);
  }
}

struct Launch {
  std::string_view kernel{};
  simt::Index3 blocks{};
  unsigned threads = 1;
  size_t shared = 0;
};
template <class Args>
void launch(const Call& call, const Launch& l, void (*kernel)(Args), const Args& args) {
  KERF_CHECK(call.queue, "an emulated kernel without a device");
  static_cast<simt::Queue&>(*call.queue)
      .launch(
          {.kernel = l.kernel, .blocks = l.blocks, .threads = l.threads, .shared = l.shared}, [kernel, args] { kernel(args); }, call.pool);
}

}  // namespace kerf::KERF_GPU_NS
