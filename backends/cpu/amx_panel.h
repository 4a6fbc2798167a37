// A range of panels of weights times a block of tokens, in two phases that do not mix: tile products, whose sums stay in a
// buffer in L2, then vector work, writing those sums to y while the next panel is unpacked. Mixing them so that one would hide
// the other was measured at half the speed: a tile load whose address agrees with that of a waiting store in the lower 12
// bits has to wait for it, and a store waits for all tile products before it.
#pragma once
#include "backends/cpu/amx_matmul.h"
#include "backends/cpu/amx_tiles.h"
#include "backends/cpu/amx_unpack.h"
#include "backends/cpu/batch_avx512.h"
#include "backends/cpu/encode_avx512.h"
#include "backends/cpu/transpose.h"
#include "quant/interleaved.h"

namespace kerf::cpu {
inline namespace KERF_ISA {

inline constexpr int64_t kStripValues = 256;  // a K-quant block or eight blocks of 32

inline void prefetch_l2(const std::byte* p, int64_t bytes) {
  for (int64_t i = 0; i < bytes; i += 64) _mm_prefetch(reinterpret_cast<const char*>(p + i), _MM_HINT_T1);
}

template <class F>
inline constexpr int kValuesOf = info(F::dtype).block_values;
template <class F>
inline constexpr bool kIsKQuant = kValuesOf<F> == kStripValues;

/// Weights as a file has them: AmxUnpackFn and AmxAskFn.
template <class F>
struct Rows {
  static void unpack(const AmxWeights& a, int64_t row, int64_t k, int64_t n, std::byte* out) {
    const std::byte* from = a.data + row * a.row_bytes + row_bytes(F::dtype, k);
    const int64_t bytes = row_bytes(F::dtype, n), there = a.N - row;
    if (there < 16) {
      alignas(64) std::byte some[16 * kStripValues * 4]{};
      for (int64_t r = 0; r < there; ++r) std::memcpy(some + r * bytes, from + r * a.row_bytes, static_cast<size_t>(bytes));
      return sixteen(some, bytes, n, out);
    }
    sixteen(from, a.row_bytes, n, out);
  }
  static void ask(const AmxWeights& a, int64_t row, int64_t k0, int64_t k1, int64_t part, int64_t parts) {
    for (int64_t r = a.panel_rows * part / parts; r < a.panel_rows * (part + 1) / parts && row + r < a.N; ++r)
      prefetch_l2(a.data + (row + r) * a.row_bytes + row_bytes(F::dtype, k0), row_bytes(F::dtype, k1 - k0));
  }

 private:
  static void sixteen(const std::byte* from, int64_t step, int64_t n, std::byte* out) {
    if constexpr (kValuesOf<F> == 1) {
      for (int64_t r = 0; r < 16; ++r, from += step, out += 64)
        for (int64_t i = 0; i < n; i += 32) put(out, static_cast<int>(i / 32), bf16_of(reinterpret_cast<const typename F::Block*>(from) + i));
    } else {
      using I = quant::Interleaved<F>;
      const auto* bytes = reinterpret_cast<const uint8_t*>(from);
      Strip s{.row = step, .block = info(F::dtype).block_bytes, .halves = bytes + I::kHalfAt, .half_row = step, .half_block = s.block};
      alignas(64) std::byte words[64 * I::kWords];
      alignas(32) uint16_t lone[16];
      if constexpr (kIsKQuant<F>) {
        using U = Unpack<F>;
        s.codes = bytes + 4 * U::kCode, s.words = words, s.lone = reinterpret_cast<const std::byte*>(lone);
        if constexpr (requires { U::kScaleWords; })
          transpose_quarter(from + 4 * U::kScaleWords, step, 0, [&](int c, __m512i v) { _mm512_store_si512(words + 64 * (U::kScaleWords + c), v); });
        if constexpr (I::kLoneHalf)
          for (int64_t r = 0; r < 16; ++r) std::memcpy(lone + r, from + r * step + I::kHalfAt, 2);
      } else {
        s.codes = bytes + I::kWordsAt;
      }
      Unpack<F>::rows(s, n / kValuesOf<F>, out);
    }
  }
};

/// Sixteen interleaved rows: the words of codes are put back into rows (in L1), then unpacked as above. That costs 0.02
/// cycles per bit of a weight's code, less than unpacking in lanes that are rows: no look-up there, since each lane has a
/// scale of its own.
template <class F>
struct InterleavedRows {
  static void unpack(const AmxWeights& a, int64_t row, int64_t k, int64_t n, std::byte* out) {
    using I = quant::Interleaved<F>;
    const int64_t blocks = a.K / kValuesOf<F>, first = k / kValuesOf<F>, count = n / kValuesOf<F>;
    const std::byte *tile = a.data + row / 16 * I::tile_bytes(blocks), *words = I::words(tile, blocks, first),
                    *halves = I::halves(tile, blocks, first);
    alignas(64) std::byte rows[16 * kPitch];
    if constexpr (kIsKQuant<F>)
      words_to_rows(words + 64 * Unpack<F>::kCode, Unpack<F>::kCodeWords, rows);
    else
      words_to_rows(words, static_cast<int>(count) * I::kWords, rows);
    const Strip s{.codes = reinterpret_cast<const uint8_t*>(rows),
                  .row = kPitch,
                  .block = 4 * I::kWords,
                  .halves = reinterpret_cast<const uint8_t*>(halves),
                  .half_row = 2,
                  .half_block = 32,
                  .words = words,
                  .lone = halves};
    Unpack<F>::rows(s, count, out);
  }
  static void ask(const AmxWeights& a, int64_t row, int64_t k0, int64_t k1, int64_t part, int64_t parts) {
    using I = quant::Interleaved<F>;
    const int64_t blocks = a.K / kValuesOf<F>, b0 = k0 / kValuesOf<F>, b1 = k1 / kValuesOf<F>;
    for (int64_t r = row; r < row + a.panel_rows && r < a.N; r += 16) {
      const std::byte* tile = a.data + r / 16 * I::tile_bytes(blocks);
      const int64_t from = b0 + (b1 - b0) * part / parts, to = b0 + (b1 - b0) * (part + 1) / parts;
      prefetch_l2(tile + I::tile_bytes(from), I::tile_bytes(to - from));
    }
  }

 private:
  static constexpr int64_t kPitch = (row_bytes(F::dtype, kStripValues) + 63) / 64 * 64 + 64;

  /// n words of sixteen rows, 64 bytes each, become rows. Groups of sixteen words; the last one may repeat some.
  static void words_to_rows(const std::byte* words, int n, std::byte* rows) {
    alignas(64) std::byte few[16 * 64];
    if (n < 16) {
      std::memcpy(few, words, static_cast<size_t>(n) * 64);
      words = few;
    }
    for (int w = 0; w < n; w += 16) {
      const int first = n < 16 ? 0 : w + 16 <= n ? w : n - 16;
      transpose_rows(words + 64 * first, 64, [&](int r, __m512i v) { _mm512_storeu_si512(rows + r * kPitch + 4 * first, v); });
    }
  }
};

/// Sums of 32 rows x 32 tokens (Pairs = 2: tiles 0-3) or x 16 (tiles 0 and 1). Tiles: rows 0-15 and 16-31 of the first
/// tokens, then of the others.
template <int Pairs>
void multiply(const std::byte* w, const std::byte* x, int64_t x_step, int64_t steps) {
  for (int64_t k = 0; k < steps; ++k, w += kPanelStep, x += kTileBytes) {
    tile_stream<4>(w);
    tile_stream<6>(x);
    tile_multiply_bf16<0, 4, 6>();
    tile_stream<5>(w + kTileBytes);
    tile_multiply_bf16<1, 5, 6>();
    if constexpr (Pairs == 2) {
      tile_stream<7>(x + x_step);
      tile_multiply_bf16<2, 4, 7>();
      tile_multiply_bf16<3, 5, 7>();
    }
  }
}

template <int Pairs>
void load_sums(const std::byte* from) {
  if (from == nullptr) {
    tile_zero<0>(), tile_zero<1>();
    if constexpr (Pairs == 2) tile_zero<2>(), tile_zero<3>();
  } else {
    tile_load<0>(from), tile_load<1>(from + kTileBytes);
    if constexpr (Pairs == 2) tile_load<2>(from + 2 * kTileBytes), tile_load<3>(from + 3 * kTileBytes);
  }
}

template <int Pairs>
void store_sums(std::byte* to) {
  tile_store<0>(to), tile_store<1>(to + kTileBytes);
  if constexpr (Pairs == 2) tile_store<2>(to + 2 * kTileBytes), tile_store<3>(to + 3 * kTileBytes);
}

inline constexpr int64_t kSumsBytes = 4 * kTileBytes;  // of 32 rows and 32 tokens

/// Sums of 16 rows and 16 tokens to y. `stream` for results that no cache would hold: full lines then go to memory without
/// being read first.
template <bool stream>
void write_tile(const AmxProduct& p, const std::byte* sums, int64_t n, int64_t t) {
  if (n >= p.N || t >= p.T) return;
  const auto present = static_cast<__mmask16>(p.N - n >= 16 ? 0xFFFF : (1 << (p.N - n)) - 1);
  float* y = reinterpret_cast<float*>(p.y) + t * p.N + n;
  transpose_rows(sums, 64, [&](int c, __m512i v) {
    if (t + c >= p.T) return;
    __m512 sum = _mm512_castsi512_ps(v);
    if (p.addend) sum = _mm512_add_ps(sum, _mm512_maskz_loadu_ps(present, p.addend + (t + c) * p.addend_step + n));
    if constexpr (stream)
      _mm512_stream_ps(y + c * p.N, sum);
    else
      _mm512_mask_storeu_ps(y + c * p.N, present, sum);
  });
}

inline void write_sums(const AmxProduct& p, const std::byte* sums, int64_t n, int64_t t) {
  p.stream ? write_tile<true>(p, sums, n, t) : write_tile<false>(p, sums, n, t);
}

/// silu(gate) * up of 16 rows and 16 tokens in place of gate, and on to y.
inline void write_swiglu(const AmxProduct& p, std::byte* sums, int64_t n, int64_t t) {
  using Batch = BatchAvx512;
  auto *gate = reinterpret_cast<float*>(sums), *up = reinterpret_cast<float*>(sums + kTileBytes);
  for (int i = 0; i < 256; i += 16) {
    const Batch g = Batch::load_aligned(gate + i), u = Batch::load_aligned(up + i);
    (g / (Batch(1.f) + xsimd::exp(-g)) * u).store_aligned(gate + i);
  }
  if (!p.tiles) return write_sums(p, sums, n, t);
  // Two rows are a row of pairs of the tile that the next product reads.
  std::byte* tile = p.y + (t / 16 * (p.N / 32) + n / 32) * kTileBytes + n % 32 / 2 * 64;
  for (int64_t i = 0; i < 16 && n + i < p.N; i += 2, tile += 64) {
    const __m512i even = rounded_to_bf16(_mm512_load_ps(gate + 16 * i)), odd = rounded_to_bf16(_mm512_load_ps(gate + 16 * i + 16));
    _mm512_storeu_si512(tile, select(_mm512_set1_epi32(0xFFFF), _mm512_srli_epi32(even, 16), odd));
  }
}

/// One thread's panels.
class PanelRange {
 public:
  PanelRange(const AmxProduct& p, const AmxBlock& block) : p_(p), block_(block) {}

  void run(int64_t first, int64_t last) {
    const TileScope tiles;
    for (int64_t panel = first; panel < last; ++panel) {
      if (p_.swiglu) {
        unpack(p_.w, 16 * panel, panel_), unpack(p_.up, 16 * panel, panel_ + kTileBytes);
      } else {
        unpack(p_.w, 32 * panel, panel_), unpack(p_.w, 32 * panel + 16, panel_ + kTileBytes);
      }
      multiply_panel(panel);
    }
    if (p_.stream) _mm_sfence();
  }

 private:
  /// A tile of sixteen rows that the matrix lacks altogether keeps what it had: it affects sums that nobody reads.
  void unpack(const AmxWeights& w, int64_t row, std::byte* tile) const {
    if (row >= w.N) return;
    for (int64_t k = block_.k0; k < block_.k1; k += kStripValues, tile += kStripValues / 32 * kPanelStep)
      w.unpack(w, row, k, block_.k1 - k < kStripValues ? block_.k1 - k : kStripValues, tile);
  }

  void multiply_panel(int64_t panel) {
    const int64_t pairs = (block_.t1 - block_.t0 + 31) / 32, tiles = p_.K / 32;
    const bool ends = block_.k1 == p_.K;
    std::byte* partial = p_.partial + panel * pairs * kSumsBytes;  // used only where k is cut
    const std::byte* x = p_.x + (block_.t0 / 16 * tiles + block_.k0 / 32) * kTileBytes;
    for (int64_t t = block_.t0; t < block_.t1;) {
      const int64_t first = t;
      for (int64_t i = 0; i < kPairsTogether && t < block_.t1; ++i, t += 32, x += 2 * tiles * kTileBytes, partial += kSumsBytes) {
        multiply_tokens(x, block_.k0 > 0 ? partial : nullptr, ends ? sums_ + i * kSumsBytes : partial, t + 16 < block_.t1);
        ask(panel + 1, (t - block_.t0) / 32, pairs);
      }
      if (ends) write(panel, first, t < block_.t1 ? t : block_.t1);
    }
  }

  /// Next panel's weights, between tile products: these have the time to wait for memory.
  void ask(int64_t panel, int64_t part, int64_t parts) const {
    p_.w.ask(p_.w, panel * p_.w.panel_rows, block_.k0, block_.k1, part, parts);
    if (p_.swiglu) p_.up.ask(p_.up, panel * p_.up.panel_rows, block_.k0, block_.k1, part, parts);
  }

  void multiply_tokens(const std::byte* x, const std::byte* from, std::byte* to, bool pair) const {
    const int64_t x_step = p_.K / 32 * kTileBytes, steps = (block_.k1 - block_.k0) / 32;
    if (pair) {
      load_sums<2>(from), multiply<2>(panel_, x, x_step, steps), store_sums<2>(to);
    } else {
      load_sums<1>(from), multiply<1>(panel_, x, 0, steps), store_sums<1>(to);
    }
  }

  void write(int64_t panel, int64_t first, int64_t last) {
    std::byte* sums = sums_;
    for (int64_t t = first; t < last; t += 16, sums += 2 * kTileBytes) {
      if (p_.swiglu) {
        write_swiglu(p_, sums, 16 * panel, t);
      } else {
        write_sums(p_, sums, 32 * panel, t), write_sums(p_, sums + kTileBytes, 32 * panel + 16, t);
      }
    }
  }

  static constexpr int64_t kPairsTogether = 4;  // 16 KB of sums: they stay in L1
  const AmxProduct& p_;
  const AmxBlock& block_;
  alignas(64) std::byte panel_[kAmxChunk / 32 * kPanelStep];
  alignas(64) std::byte sums_[kPairsTogether * kSumsBytes];
};

}  // namespace KERF_ISA
}  // namespace kerf::cpu
