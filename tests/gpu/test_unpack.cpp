// backends/gpu/kernels/unpack.h against the definitions: on the emulator's words it is host code.
#include <cmath>
#include <cstring>
#include <random>
#include <vector>

#include "backends/gpu/kernels/unpack.h"
#include "core/dtype.h"
#include "tests/catch.h"

namespace {
using namespace kerf;

/// Equal, or both not a number.
bool same(float a, float b) { return a == b || (std::isnan(a) && std::isnan(b)); }

template <class F>
void check_block(const typename F::Block& b) {
  constexpr int kValues = info(F::dtype).block_values;
  uint8_t code[kValues];
  float scale[kValues / 16], min[kValues / 16] = {};
  F::split(b, code, scale, min);
  for (int g = 0; g < kValues / 16; ++g) {
    const auto got = KERF_GPU_NS::group<F>(b, g);
    CAPTURE(name_of(F::dtype), g);
    REQUIRE(std::memcmp(got.code, code + 16 * g, 16) == 0);
    REQUIRE(same(got.scale, scale[g]));
    REQUIRE(same(got.min, min[g]));
    for (int i = 0; i < 16; ++i) REQUIRE(same(KERF_GPU_NS::value_of<F>(got, i), F::at(b, 16 * g + i)));
  }
}

TEST_CASE("a group of a block is what the format says") {
  const uint64_t seed = GENERATE(1u, 2u);
  CAPTURE(seed);
  std::mt19937_64 random(seed);
  quant::AffineFormats::for_each([&]<class F>(F) {
    constexpr size_t kBlocks = 40;  // at even and odd multiples of the block's size; the vector ends where the last block does
    std::vector<typename F::Block> blocks(kBlocks);
    auto* bytes = reinterpret_cast<uint8_t*>(blocks.data());
    for (size_t i = 0; i < sizeof(blocks[0]) * kBlocks; ++i) bytes[i] = static_cast<uint8_t>(random());
    for (const auto& b : blocks) check_block<F>(b);
  });
}

}  // namespace
