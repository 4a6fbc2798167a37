// The words that GPU kernels are written in. A portable kernel includes this and nothing of a vendor: it is compiled by nvcc into
// kerf::cuda, by hipcc into kerf::hip, and by the host compiler into kerf::emu and kerf::emu64, where the emulator executes it.
// The build names the vendor's header; backends/gpu/README.md lists the words.
#pragma once
#include KERF_GPU_VENDOR

namespace kerf::KERF_GPU_NS {

KERF_DEVICE unsigned lane() { return thread_x() % kLanes; }
KERF_DEVICE unsigned warp() { return thread_x() / kLanes; }

/// Sum over the lanes; the same bits in all of them.
template <class T>
KERF_DEVICE T warp_sum(T x) {
  for (unsigned bits = kLanes / 2; bits > 0; bits /= 2) x += shfl_xor(x, bits);
  return x;
}
KERF_DEVICE float larger(float a, float b) { return a > b ? a : b; }
KERF_DEVICE float warp_max(float x) {
  for (unsigned bits = kLanes / 2; bits > 0; bits /= 2) x = larger(x, shfl_xor(x, bits));
  return x;
}

KERF_DEVICE float sigmoid(float x) { return 1 / (1 + expf(-x)); }
KERF_DEVICE float silu(float x) { return x / (1 + expf(-x)); }

/// Sum over a block of `threads`; the same bits in all of them. `part` is shared memory for one value a warp, free before and after
/// by a barrier.
template <int threads, class T>
KERF_DEVICE T block_sum(T x, T* part) {
  x = warp_sum(x);
  if (lane() == 0) part[warp()] = x;
  block_sync();
  T sum = 0;
  for (int w = 0; w < threads / kLanes; ++w) sum += part[w];
  block_sync();
  return sum;
}

/// Each element of the tile becomes op over its row; the same bits in all of them.
template <class Op>
KERF_DEVICE void reduce_rows(Sums& tile, Op&& op) {
  KERF_UNROLL
  for (int e = 0; e < Sums::n; ++e) {
    if (first_in_row(e) != e) continue;
    float x = tile.e[e];
    KERF_UNROLL
    for (int f = e + 1; f < Sums::n; ++f)
      if (first_in_row(f) == e) x = op(x, tile.e[f]);
    KERF_UNROLL
    for (unsigned bits = kRowLanes / 2; bits > 0; bits /= 2) x = op(x, shfl_xor(x, bits));
    KERF_UNROLL
    for (int f = e; f < Sums::n; ++f)
      if (first_in_row(f) == e) tile.e[f] = x;
  }
}
KERF_DEVICE void row_max(Sums& tile) {
  reduce_rows(tile, [](float a, float b) { return larger(a, b); });
}
KERF_DEVICE void row_sum(Sums& tile) {
  reduce_rows(tile, [](float a, float b) { return a + b; });
}

inline constexpr unsigned blocks_for(int64_t work, int64_t per_block) { return static_cast<unsigned>((work + per_block - 1) / per_block); }

}  // namespace kerf::KERF_GPU_NS
