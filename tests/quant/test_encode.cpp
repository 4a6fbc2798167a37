// Encoders of cache formats: bytes against ggml's on the same rows (make_blocks.py says where both come from), the error that a
// step allows, values that a block can hold, and what the rule leaves open.
#include <bit>
#include <cmath>
#include <cstring>
#include <fstream>
#include <iterator>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "quant/encode.h"
#include "tests/catch.h"

namespace kerf::quant {
namespace {

std::vector<char> file(const std::string& name) {
  std::ifstream in(std::string(KERF_TEST_DATA) + "/blocks/" + name, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

template <class F>
std::vector<float> round_trip(const float* x, int blocks = 1) {
  std::vector<typename F::Block> coded(static_cast<size_t>(blocks));
  std::vector<float> back(static_cast<size_t>(32 * blocks));
  encode_row(F::dtype, x, 32 * blocks, coded.data());
  decode_row(F::dtype, coded.data(), 32 * blocks, back.data());
  return back;
}

TEST_CASE("blocks are ggml's, byte for byte") {
  const auto bytes = file("inputs.f32");
  REQUIRE(bytes.size() == 21 * 512 * 4);
  std::vector<float> x(bytes.size() / 4);
  std::memcpy(x.data(), bytes.data(), bytes.size());
  CacheBlocks::for_each([&]<class F>(F) {
    INFO(name_of(F::dtype));
    const auto golden = file(std::string(name_of(F::dtype)) + ".blocks");
    std::vector<typename F::Block> coded(x.size() / 32);
    encode_row(F::dtype, x.data(), static_cast<int64_t>(x.size()), coded.data());
    REQUIRE(golden.size() > 16 + coded.size() * sizeof coded[0]);
    int64_t different = -1;
    for (size_t b = coded.size(); b-- > 0;)
      if (std::memcmp(&coded[b], golden.data() + 16 + b * sizeof coded[0], sizeof coded[0]) != 0) different = static_cast<int64_t>(b);
    CHECK(different == -1);
  });
}

TEST_CASE("the error is within the step, and the extreme costs only the scale's rounding") {
  const uint64_t seed = 91;
  CAPTURE(seed);
  std::mt19937_64 random(seed);
  std::normal_distribution<float> normal;
  CacheBlocks::for_each([&]<class F>(F) {
    INFO(name_of(F::dtype));
    for (int trial = 0; trial < 500; ++trial) {
      float x[32], largest = 0;
      const float size = std::ldexp(1.f, static_cast<int>(random() % 16) - 6);  // binary16 scales stay normal numbers
      for (float& v : x) largest = std::max(largest, std::fabs(v = size * normal(random)));
      const Step s = step_for<F>(extent_of(x));
      const auto back = round_trip<F>(x);
      // Half a step; a whole one where the range ends on one side of zero; and binary16's rounding of d and m.
      const float step = std::fabs(s.d) * (F::kHasMin || F::dtype == DType::q8_0 ? 0.5f : 1.f);
      for (int i = 0; i < 32; ++i) {
        CHECK(std::fabs(back[i] - x[i]) <= step + largest * 0x1p-9f);
        if (std::fabs(x[i]) == largest) CHECK(std::fabs(back[i] - x[i]) <= largest * 0x1p-9f);
      }
    }
  });
}

TEST_CASE("a block that the format can hold comes back as it was") {
  const uint64_t seed = 92;
  CAPTURE(seed);
  std::mt19937_64 random(seed);
  CacheBlocks::for_each([&]<class F>(F) {
    INFO(name_of(F::dtype));
    constexpr bool kBytes = F::dtype == DType::q8_0;
    constexpr int kLow = kBytes ? -127 : F::kHasMin ? 0 : -F::kOffset, kHigh = kBytes ? 127 : F::kHasMin ? kMaxCode<F> : F::kOffset - 1;
    for (int trial = 0; trial < 200; ++trial) {
      float x[32];
      const float d = std::ldexp(1.f, static_cast<int>(random() % 10) - 7), shift = F::kHasMin ? d * static_cast<float>(random() % 64) : 0.f;
      for (float& v : x) v = shift + d * static_cast<float>(static_cast<int>(random() % static_cast<uint64_t>(kHigh - kLow + 1)) + kLow);
      x[random() % 32] = shift + d * kLow;  // both ends, so that the rule finds this d and m
      if (F::kHasMin) x[0] = shift + d * kHigh, x[1] = shift + d * kLow;
      CHECK(round_trip<F>(x) == std::vector<float>(x, x + 32));
    }
    const float zeros[32] = {0.f, -0.f};
    CHECK(round_trip<F>(zeros) == std::vector<float>(32, 0.f));
  });
}

TEST_CASE("nothing that is not finite is hidden, and nothing is undefined") {
  const float nan = std::nanf(""), infinity = std::numeric_limits<float>::infinity(), huge = std::numeric_limits<float>::max();
  CacheBlocks::for_each([&]<class F>(F) {
    INFO(name_of(F::dtype));
    for (const float bad : {nan, infinity, -infinity})
      for (const int at : {0, 7, 31}) {
        float x[64];
        for (int i = 0; i < 64; ++i) x[i] = static_cast<float>(i % 5);
        x[at] = bad;
        const auto back = round_trip<F>(x, 2);
        for (int i = 0; i < 32; ++i) CHECK(std::isnan(back[i]));
        for (int i = 32; i < 64; ++i) CHECK(std::isfinite(back[i]));  // the neighbour is a block of its own
      }
    float x[32] = {huge, -huge};  // the range overflows
    for (const float v : round_trip<F>(x)) CHECK_FALSE(std::isfinite(v));
    float tiny[32] = {1e-42f, -1e-43f};  // 1/d overflows; d is 0 in binary16
    for (const float v : round_trip<F>(tiny)) CHECK(v == 0);
  });
}

TEST_CASE("floats are rounded, other types have no encoder") {
  const float x[4] = {1.0009765625f, -0.f, 65520.f, 1.00390625f};
  uint16_t half[4], brain[4];
  float same[4];
  encode_row(DType::f16, x, 4, half);
  encode_row(DType::bf16, x, 4, brain);
  encode_row(DType::f32, x, 4, same);
  CHECK(half[0] == 0x3C01);
  CHECK(half[1] == 0x8000);
  CHECK(half[2] == 0x7C00);
  CHECK(brain[0] == 0x3F80);
  CHECK(brain[3] == 0x3F80);  // a tie, to even
  CHECK(std::memcmp(same, x, sizeof x) == 0);
  CHECK(is_cache_type(DType::q5_1));
  CHECK_FALSE(is_cache_type(DType::q4_k));
  CHECK_FALSE(is_cache_type(DType::q8_g16));
  CHECK_THROWS(encode_row(DType::q4_k, x, 0, half));
}

}  // namespace
}  // namespace kerf::quant
