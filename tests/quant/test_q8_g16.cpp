// The activation format: what its definition promises, and that every conversion kernel writes the same bytes.
#include <cmath>
#include <cstring>
#include <limits>
#include <random>
#include <vector>

#include "backends/backends.h"
#include "core/kernel.h"
#include "core/threadpool.h"
#include "quant/q8_g16.h"
#include "tests/catch.h"

namespace {
using namespace kerf;
using quant::Q8_G16;

constexpr float kInf = std::numeric_limits<float>::infinity(), kNan = std::numeric_limits<float>::quiet_NaN();

std::vector<std::byte> encoded(const std::vector<float>& x) {
  std::vector<std::byte> row(x.size() * 3 / 2);
  Q8_G16::encode_row(x.data(), static_cast<int64_t>(x.size()), row.data());
  return row;
}

/// Rows of normal values whose groups have scales from 2^-140 to 2^120, with zeros, ties and extremes among them.
std::vector<float> spread(int64_t n, uint64_t seed) {
  std::mt19937_64 random(seed);
  std::normal_distribution<float> normal;
  std::uniform_int_distribution<int> exponent(-140, 120);
  std::vector<float> x(static_cast<size_t>(n));
  for (size_t i = 0; i < x.size(); i += 16) {
    const int e = exponent(random);
    const bool ties = random() % 4 == 0, zeros = random() % 16 == 0;
    for (size_t j = i; j < i + 16; ++j)
      x[j] = zeros ? 0.f : ties ? std::ldexp(static_cast<float>(random() % 255) - 127.f, e > 110 ? 110 : e) * 0.5f : std::ldexp(normal(random), e);
  }
  return x;
}

TEST_CASE("q8_g16 rounds to half a step of its group") {
  const uint64_t seed = GENERATE(1u, 2u, 3u);
  CAPTURE(seed);
  const int64_t K = 4096;
  const auto x = spread(K, seed);
  const auto bytes = encoded(x);
  const auto row = Q8_G16::row(bytes.data(), K);
  for (int64_t g = 0; g < K / 16; ++g) {
    float largest = 0;
    int sum = 0;
    for (int64_t i = 16 * g; i < 16 * g + 16; ++i) {
      largest = std::fmax(largest, std::fabs(x[static_cast<size_t>(i)]));
      sum += row.q[i];
      // The quotient is rounded before it is rounded to an integer, and d to its nearest subnormal: a part in 2^-16, one 2^-149 per unit.
      const double error = std::fabs(double(x[static_cast<size_t>(i)]) - double(row.d[g]) * row.q[i]),
                   bound = double(row.d[g]) * (0.5 + 0x1p-16) + 64 * 0x1p-149;
      if (error > bound)
        FAIL("value " << i << ": " << x[static_cast<size_t>(i)] << " became " << double(row.d[g]) * row.q[i] << " with step " << row.d[g]);
      if (row.q[i] == -128) FAIL("value " << i << " has code -128");
    }
    CHECK(row.d[g] == largest / 127);
    CHECK(row.sum[g] == static_cast<float>(sum));
  }
}

TEST_CASE("q8_g16: zeros, ties and values that are not finite") {
  std::vector<float> x(96, 0.f);
  for (size_t i = 0; i < 16; ++i) x[i] = static_cast<float>(i) - 7.5f;
  x[0] = 127;  // d = 1: ties go to even
  x[40] = kInf;
  x[50] = kNan;
  x[64] = std::numeric_limits<float>::max();
  x[65] = -std::numeric_limits<float>::max();
  const auto bytes = encoded(x);
  const auto row = Q8_G16::row(bytes.data(), 96);
  const int expected[16] = {127, -6, -6, -4, -4, -2, -2, 0, 0, 2, 2, 4, 4, 6, 6, 8};
  for (int i = 0; i < 16; ++i) CHECK(int(row.q[i]) == expected[i]);
  CHECK(row.d[1] == 0);
  CHECK(row.sum[1] == 0);
  for (int g : {2, 3}) {
    CHECK(std::isnan(row.d[g]));
    CHECK(row.sum[g] == 0);
    for (int i = 0; i < 16; ++i) CHECK(std::isnan(Q8_G16::at(bytes.data(), 96, 16 * g + i)));
  }
  CHECK(int(row.q[64]) == 127);
  CHECK(int(row.q[65]) == -127);
  CHECK(std::isfinite(row.d[4]));
  std::vector<float> decoded(96);
  Q8_G16::decode_row(bytes.data(), 96, decoded.data());
  CHECK(decoded[0] == 127);
  CHECK(decoded[5] == -2);
}

TEST_CASE("conversion kernels write the bytes of the definition") {
  Registry registry;
  fill_cpu(registry);
  ThreadPool pool(2);
  const int64_t rows = 5, K = 1056;
  auto x = spread(rows * K, 4);
  x[100] = kNan;
  x[2000] = -kInf;
  x[3000] = std::numeric_limits<float>::max();
  x[4000] = std::numeric_limits<float>::denorm_min();
  const Problem p = problem(Convert{.to = DType::q8_g16}, {matrix(DType::f32, rows, K)});
  std::vector<std::byte> expected(static_cast<size_t>(p.out[0].bytes()));
  for (int64_t r = 0; r < rows; ++r) Q8_G16::encode_row(&x[static_cast<size_t>(r * K)], K, expected.data() + r * p.out[0].row_bytes());
  int tried = 0;
  for (const Kernel& k : registry.all()) {
    if (k.op != Convert::name || k.isa > detect_isa() || !k.accepts(p)) continue;
    std::vector<std::byte> out(expected.size(), std::byte{0xAA});
    const TensorView in[] = {{p.in[0], x.data()}}, result[] = {{p.out[0], out.data()}};
    k.run(p, {in, result, {}, pool});
    INFO(k.name());
    CHECK(std::memcmp(out.data(), expected.data(), out.size()) == 0);
    ++tried;
  }
  CHECK(tried >= 1);
}

}  // namespace
