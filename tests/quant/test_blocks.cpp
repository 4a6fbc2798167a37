// Every format's decoder against vectors from an independent implementation (make_blocks.py says from which), bit for bit:
// rows quantized by ggml, with subnormal and underflowing scales among them, and blocks of random bytes.
#include <bit>
#include <cmath>
#include <cstring>
#include <fstream>
#include <iterator>
#include <set>
#include <string>
#include <vector>

#include "quant/formats.h"
#include "tests/catch.h"

namespace {
using namespace kerf;

struct Blocks {
  uint32_t count = 0, bytes = 0, values = 0;
  std::vector<char> raw{};
  std::vector<float> decoded{};
};

Blocks read(DType type) {
  std::ifstream in(std::string(KERF_TEST_DATA) + "/blocks/" + std::string(name_of(type)) + ".blocks", std::ios::binary);
  const std::vector<char> file{std::istreambuf_iterator<char>(in), {}};
  REQUIRE(file.size() > 16);
  REQUIRE(std::memcmp(file.data(), "KBLK", 4) == 0);
  Blocks b;
  std::memcpy(&b.count, file.data() + 4, 4);
  std::memcpy(&b.bytes, file.data() + 8, 4);
  std::memcpy(&b.values, file.data() + 12, 4);
  const size_t raw = size_t(b.count) * b.bytes, values = size_t(b.count) * b.values;
  REQUIRE(file.size() == 16 + raw + 4 * values);
  b.raw.assign(file.begin() + 16, file.begin() + 16 + static_cast<std::ptrdiff_t>(raw));
  b.decoded.resize(values);
  std::memcpy(b.decoded.data(), file.data() + 16 + raw, 4 * values);
  return b;
}

uint32_t bits(float f) { return std::bit_cast<uint32_t>(f); }

/// Index of the first value whose bits differ, or -1.
int64_t first_difference(const std::vector<float>& a, const std::vector<float>& b) {
  for (size_t i = 0; i < a.size(); ++i)
    if (bits(a[i]) != bits(b[i])) return static_cast<int64_t>(i);
  return -1;
}

TEST_CASE("decoders reproduce the golden blocks bit for bit") {
  quant::AffineFormats::for_each([]<class F>(F) {
    const Blocks golden = read(F::dtype);
    INFO(name_of(F::dtype));
    REQUIRE(golden.count >= 90);
    REQUIRE(golden.bytes == sizeof(typename F::Block));
    REQUIRE(static_cast<int>(golden.values) == info(F::dtype).block_values);
    std::vector<float> row(golden.decoded.size());
    quant::decode_row(F::dtype, golden.raw.data(), static_cast<int64_t>(row.size()), row.data());
    CHECK(first_difference(row, golden.decoded) == -1);
  });
}

TEST_CASE("split is the same map as at, and meets every code") {
  quant::AffineFormats::for_each([]<class F>(F) {
    const Blocks golden = read(F::dtype);
    INFO(name_of(F::dtype));
    constexpr int kValues = info(F::dtype).block_values;
    std::set<int> seen;
    for (uint32_t b = 0; b < golden.count; ++b) {
      typename F::Block block;
      std::memcpy(&block, golden.raw.data() + size_t(b) * golden.bytes, sizeof block);
      uint8_t code[kValues];
      float scale[kValues / 16], min[kValues / 16] = {};
      F::split(block, code, scale, min);
      for (int i = 0; i < kValues; ++i) {
        seen.insert(code[i]);
        const float product = scale[i / 16] * static_cast<float>(code[i] - F::kOffset), value = F::kHasMin ? product - min[i / 16] : product;
        if (bits(value) != bits(F::at(block, i))) FAIL("block " << b << " value " << i << ": " << value << " against " << F::at(block, i));
      }
    }
    const int codes = F::dtype == DType::q2_k                                                         ? 4
                      : F::dtype == DType::q3_k                                                       ? 8
                      : F::dtype == DType::q6_k                                                       ? 64
                      : F::dtype == DType::q8_0                                                       ? 256
                      : F::dtype == DType::q5_0 || F::dtype == DType::q5_1 || F::dtype == DType::q5_k ? 32
                                                                                                      : 16;
    CHECK(static_cast<int>(seen.size()) == codes);
    CHECK(*seen.rbegin() == (F::dtype == DType::iq4_nl || F::dtype == DType::iq4_xs ? 113 + 128 : codes - 1));
  });
}

/// The level of index j, as ggml's kvalues_iq4nl has it.
constexpr int kLevels[16] = {-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113};

TEST_CASE("iq4_nl: every index at every position, nothing around it") {
  for (int i = 0; i < 32; ++i)
    for (int index = 0; index < 16; ++index) {
      quant::IQ4_NL::Block b{};
      b.d = 0x4000;  // 2
      b.qs[i % 16] = static_cast<uint8_t>(i < 16 ? index : index << 4);
      for (int j = 0; j < 32; ++j)
        if (quant::IQ4_NL::at(b, j) != 2.f * static_cast<float>(kLevels[j == i ? index : 0]))
          FAIL("index " << index << " at " << i << ", value " << j);
    }
}

TEST_CASE("iq4_xs: every index at every position, every scale of every sub-block") {
  for (int i = 0; i < 256; ++i)
    for (int index = 0; index < 16; ++index) {
      quant::IQ4_XS::Block b{};
      b.d = 0x3C00, b.scales_h = 0xAAAA;
      for (uint8_t& scales : b.scales_l) scales = 0x11;  // 33 - 32
      b.qs[16 * (i / 32) + i % 16] = static_cast<uint8_t>(i % 32 < 16 ? index : index << 4);
      for (int j = 0; j < 256; ++j)
        if (quant::IQ4_XS::at(b, j) != static_cast<float>(kLevels[j == i ? index : 0])) FAIL("index " << index << " at " << i << ", value " << j);
    }
  for (int s = 0; s < 8; ++s)
    for (int scale = 0; scale < 64; ++scale) {
      quant::IQ4_XS::Block b{};
      b.d = 0x3C00;
      b.scales_l[s / 2] = static_cast<uint8_t>((scale & 15) << 4 * (s % 2));
      b.scales_h = static_cast<uint16_t>(scale >> 4 << 2 * s);
      for (int j = 0; j < 256; ++j)
        if (quant::IQ4_XS::at(b, j) != static_cast<float>(-127 * ((j / 32 == s ? scale : 0) - 32)))
          FAIL("scale " << scale << " of " << s << ", value " << j);
    }
}

TEST_CASE("all f16 and bf16 codes decode to their IEEE values") {
  for (uint32_t code = 0; code < 65536; ++code) {
    const auto half = static_cast<uint16_t>(code);
    const int exponent = static_cast<int>(code >> 10 & 31), mantissa = static_cast<int>(code & 1023);
    const float f16 = quant::F16::at({half}, 0), bf16 = quant::BF16::at({half}, 0);
    if (exponent == 31) {
      if (mantissa ? !std::isnan(f16) : !std::isinf(f16)) FAIL("f16 code " << code << " is " << f16);
    } else {
      const double magnitude = exponent ? std::ldexp(1024 + mantissa, exponent - 25) : std::ldexp(mantissa, -24);
      if (double(std::fabs(f16)) != magnitude) FAIL("f16 code " << code << " is " << f16);
    }
    if (std::signbit(f16) != bool(code >> 15) || bits(bf16) != code << 16) FAIL("sign or bf16 of code " << code);
    if (!std::isnan(f16) && float_to_half(f16) != half) FAIL("f16 code " << code << " does not survive a round trip");
    if (!std::isnan(bf16) && float_to_bf16(bf16) != half) FAIL("bf16 code " << code << " does not survive a round trip");
  }
  const float values[] = {1.5f, -0.f, 1e-40f};
  float out[3];
  quant::decode_row(DType::f32, values, 3, out);
  for (int i = 0; i < 3; ++i) CHECK(bits(out[i]) == bits(values[i]));
}

TEST_CASE("types without a decoder say so") {
  CHECK(quant::has_decoder(DType::q4_k));
  CHECK(quant::has_decoder(DType::q8_g16));
  CHECK_FALSE(quant::has_decoder(DType::i32));
  CHECK_FALSE(quant::has_decoder(DType::iq1_m));
  float out[256];
  const char block[256] = {};
  CHECK_THROWS(quant::decode_row(DType::iq1_m, block, 256, out));
}

}  // namespace
