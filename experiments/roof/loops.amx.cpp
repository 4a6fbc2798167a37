// AMX: eight tiles of 16 rows of 64 bytes. The configuration is written by hand, palette 1, because virtual machines hide
// CPUID leaf 0x1D, and lies in read-only memory, because GCC 12 drops the stores to one on the stack: its
// _tile_loadconfig tells the compiler of eight bytes only.
#include <immintrin.h>

#include "experiments/roof/loops.h"

namespace kerf::roof {
namespace {

struct alignas(64) TileConfig {  // Intel SDM vol. 2A, LDTILECFG
  uint8_t palette = 1, start_row = 0, reserved[14] = {};
  uint16_t row_bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
  uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
};
constexpr TileConfig kConfig;

/// One tile of ones (as bf16 0x3F80, as int8 small numbers) for both operands.
struct alignas(64) Tile {
  uint16_t words[512];
};
constexpr Tile kOnes = [] {
  Tile t{};
  for (auto& w : t.words) w = 0x3F80;
  return t;
}();

/// One value of each accumulator, tiles 0 to 3; gives the tiles back.
float finish() {
  alignas(64) float sums[4][256];
  _tile_stored(0, sums[0], 64);
  _tile_stored(1, sums[1], 64);
  _tile_stored(2, sums[2], 64);
  _tile_stored(3, sums[3], 64);
  _tile_release();
  __asm__ volatile("" ::: "memory");
  return sums[0][0] + sums[1][1] + sums[2][2] + sums[3][3];
}

void start() {
  _tile_loadconfig(&kConfig);
  _tile_zero(0);
  _tile_zero(1);
  _tile_zero(2);
  _tile_zero(3);
  _tile_loadd(4, kOnes.words, 64);
  _tile_loadd(5, kOnes.words, 64);
  _tile_loadd(6, kOnes.words, 64);
  _tile_loadd(7, kOnes.words, 64);
}

}  // namespace

float bf16_amx(int64_t n) {
  start();
  for (int64_t i = 0; i < n; ++i) {
    _tile_dpbf16ps(0, 4, 6);
    _tile_dpbf16ps(1, 4, 7);
    _tile_dpbf16ps(2, 5, 6);
    _tile_dpbf16ps(3, 5, 7);
  }
  return finish();
}

float int8_amx(int64_t n) {
  start();
  for (int64_t i = 0; i < n; ++i) {
    _tile_dpbssd(0, 4, 6);
    _tile_dpbssd(1, 4, 7);
    _tile_dpbssd(2, 5, 6);
    _tile_dpbssd(3, 5, 7);
  }
  return finish();
}

float bf16_amx_fed(const std::byte* tiles, int64_t bytes, int64_t passes) {
  start();
  for (int64_t pass = 0; pass < passes; ++pass)
    for (int64_t o = 0; o < bytes; o += 4096) {
      _tile_loadd(4, tiles + o, 64);
      _tile_loadd(6, tiles + o + 1024, 64);
      _tile_dpbf16ps(0, 4, 6);
      _tile_loadd(7, tiles + o + 2048, 64);
      _tile_dpbf16ps(1, 4, 7);
      _tile_loadd(5, tiles + o + 3072, 64);
      _tile_dpbf16ps(2, 5, 6);
      _tile_dpbf16ps(3, 5, 7);
    }
  return finish();
}

}  // namespace kerf::roof
