// convert interleave.2_transpose_avx512: a tile is the transposition of its rows' words, sixteen by sixteen in registers.
// Where blocks have a lone f16 the words of the blocks whose scales stand together are first put side by side. Whole lines are written past the
// caches, as a tile is next read when all weights are prepared: 17 GB/s of q4_k on two threads, 11 with ordinary stores, which read each line before
// they overwrite it. The first pass over memory that the system has yet to provide takes twice as long.
#include <immintrin.h>

#include "backends/cpu/convert.h"
#include "backends/cpu/simd_rung.h"
#include "backends/cpu/transpose.h"
#include "quant/interleaved.h"

namespace kerf::cpu {
void convert_interleave_2_transpose_avx512(Registry::Adder);
namespace {

using quant::kTileRows;

/// A line that is not at the start of one of the cache's (tiles of an odd number of 32 bytes) is stored the ordinary way.
void store_line(std::byte* out, __m512i line) {
  if (reinterpret_cast<uintptr_t>(out) % 64 == 0)
    _mm512_stream_si512(reinterpret_cast<__m512i*>(out), line);
  else
    _mm512_storeu_si512(out, line);
}

/// out[i][r] = word i of row r, i < words; rows `pitch` bytes apart, those past `rows` are zeros.
void transpose_words(const std::byte* from, int64_t pitch, int64_t rows, int64_t words, std::byte* out) {
  for (int64_t i = 0; i < words; i += 16, out += 64 * 16) {
    const int64_t n = words - i < 16 ? words - i : 16;
    const auto there = static_cast<__mmask16>((1u << n) - 1);
    __m512i r[16];
    for (int row = 0; row < 16; ++row) r[row] = _mm512_maskz_loadu_epi32(row < rows ? there : 0, from + row * pitch + 4 * i);
    transpose16(r);
    if (n == 16)
      for (int w = 0; w < 16; ++w) store_line(out + 64 * w, r[w]);
    else
      for (int w = 0; w < n; ++w) store_line(out + 64 * w, r[w]);
  }
}

template <class F>
void interleave_tile(const InterleaveArgs& a, int64_t tile) {
  using R = quant::Interleaved<F>;
  using Block = typename F::Block;
  const int64_t first = tile * kTileRows, rows = a.N - first < kTileRows ? a.N - first : kTileRows,
                pitch = a.blocks * static_cast<int64_t>(sizeof(Block));
  const std::byte* from = a.rows + first * pitch;
  std::byte* to = a.tiles + tile * R::tile_bytes(a.blocks);
  if constexpr (!R::kLoneHalf) {
    transpose_words(from, pitch, rows, a.blocks * R::kWords, to);
  } else {
    constexpr int64_t kPitch = R::kTogether * R::kWords * 4;
    alignas(64) std::byte words[kTileRows * kPitch];
    for (int64_t b0 = 0; b0 < a.blocks; b0 += R::kTogether) {
      const int64_t n = a.blocks - b0 < R::kTogether ? a.blocks - b0 : R::kTogether;
      std::byte *words16 = to + (R::words(to, a.blocks, b0) - to), *halves = to + (R::halves(to, a.blocks, b0) - to);
      for (int64_t r = 0; r < kTileRows; ++r) {
        if (r >= rows) {
          for (int64_t b = 0; b < n; ++b) std::memset(halves + 32 * b + 2 * r, 0, 2);
          continue;
        }
        const std::byte* block = from + r * pitch + b0 * static_cast<int64_t>(sizeof(Block));
        for (int64_t b = 0; b < n; ++b, block += sizeof(Block)) {
          std::memcpy(words + r * kPitch + b * 4 * R::kWords, block + R::kWordsAt, 4 * R::kWords);
          std::memcpy(halves + 32 * b + 2 * r, block + R::kHalfAt, 2);
        }
      }
      transpose_words(words, kPitch, rows, n * R::kWords, words16);
    }
  }
  _mm_sfence();  // streamed lines must be there when the loop that counts finished tiles says so
}

void run(const Problem&, const Call& call) {
  quant::AffineFormats::visit(call.in[0].desc.dtype, [&]<class F>(F) { run_interleave(call, interleave_tile<F>); });
}

}  // namespace

void convert_interleave_2_transpose_avx512(Registry::Adder registry) {
  add_rung(registry, {.op = Convert::name,
                      .variant = "interleave.2_transpose_avx512",
                      .improves = "interleave.1_generic",
                      .note = "16 x 16 words transposed in registers, whole cache lines written",
                      .preference = 2,
                      .isa = Isa::avx512,
                      .accepts = accepts_interleave,
                      .run = run});
}

}  // namespace kerf::cpu
