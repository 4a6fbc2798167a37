// What every format is tested for: each code at each position, the layout of the bytes, and how far a value may move.
#include <algorithm>
#include <cmath>
#include <random>

#include "quant/formats.h"
#include "tests/catch.h"
#include "tests/recipes/e2m1.h"

namespace kerf::recipe {
namespace {

void put(E2M1::Block& b, int i, int code) {
  uint8_t& byte = b.qs[i % 16];
  byte = static_cast<uint8_t>(i < 16 ? (byte & 0xF0) | code : (byte & 0x0F) | code << 4);
}

/// The nearest code for every value, with the scale that gives the largest one the last level.
E2M1::Block encode(const float* x) {
  E2M1::Block b{};
  float largest = 0;
  for (int i = 0; i < 32; ++i) largest = std::max(largest, std::fabs(x[i]));
  b.d = float_to_half(largest / 6);
  for (int i = 0; i < 32; ++i) {
    int best = 0;
    for (int c = 1; c < 16; ++c)
      if (std::fabs(half_to_float(b.d) * E2M1::level(c) - x[i]) < std::fabs(half_to_float(b.d) * E2M1::level(best) - x[i])) best = c;
    put(b, i, best);
  }
  return b;
}

}  // namespace

TEST_CASE("every code at every position") {
  const float levels[16] = {0, 0.5f, 1, 1.5f, 2, 3, 4, 6, 0, -0.5f, -1, -1.5f, -2, -3, -4, -6};
  for (int i = 0; i < 32; ++i)
    for (int code = 0; code < 16; ++code) {
      E2M1::Block b{.d = float_to_half(0.25f), .qs = {}};
      put(b, i, code);
      for (int j = 0; j < 32; ++j) CHECK(E2M1::at(b, j) == (j == i ? 0.25f * levels[code] : 0.f));
    }
}

TEST_CASE("bytes are where the drawing says") {
  const uint8_t bytes[18] = {0x00, 0x3C, 0x72};  // d = 1; value 0 has code 2, value 16 code 7
  E2M1::Block b{};
  std::copy(bytes, bytes + 18, reinterpret_cast<uint8_t*>(&b));
  CHECK(E2M1::at(b, 0) == 1);
  CHECK(E2M1::at(b, 16) == 6);
  CHECK(E2M1::at(b, 1) == 0);
}

TEST_CASE("a value moves by at most half the widest gap between levels") {
  const uint64_t seed = std::random_device{}();
  INFO("seed " << seed);
  std::mt19937_64 random(seed);
  std::normal_distribution<float> normal;
  for (int round = 0; round < 1000; ++round) {
    float x[64], y[64];
    for (float& v : x) v = normal(random);
    const E2M1::Block blocks[2] = {encode(x), encode(x + 32)};
    quant::decode_row<E2M1>(blocks, 64, y);
    for (int i = 0; i < 64; ++i) {
      const float d = half_to_float(blocks[i / 32].d);
      CHECK(std::fabs(y[i] - x[i]) <= d * 1.01f);  // levels 4 and 6 are two apart; d itself is rounded to f16
    }
  }
}

}  // namespace kerf::recipe
