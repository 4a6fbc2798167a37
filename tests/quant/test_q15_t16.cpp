// The 15-bit activation format: what its definition promises, and that every conversion kernel writes the same bytes.
#include <cmath>
#include <cstring>
#include <limits>
#include <random>
#include <vector>

#include "backends/backends.h"
#include "core/kernel.h"
#include "core/threadpool.h"
#include "quant/formats.h"
#include "quant/q15_t16.h"
#include "tests/catch.h"

namespace {
using namespace kerf;
using quant::Q15_T16;

constexpr float kInf = std::numeric_limits<float>::infinity(), kNan = std::numeric_limits<float>::quiet_NaN();

TEST_CASE("q15_t16: a code is two bytes, and a product of codes three byte products and a rest") {
  for (int q = -Q15_T16::kMost; q <= Q15_T16::kMost; ++q) {
    const auto c = Q15_T16::split(q);
    if (c.value() != q || c.hi < -127 || c.lo < -64 || c.lo > 63) FAIL(q << " became " << int(c.hi) << ", " << int(c.lo));
  }
}

TEST_CASE("q15_t16: the step is the smallest power of two that reaches the largest value") {
  for (int e = -148; e <= 127; ++e)
    for (const float m : {1.f, 1.5f, 1.9920654f, 1.9920655f, 1.9920656f, 1.9999999f}) {
      const float largest = std::ldexp(m, e), step = Q15_T16::step_of(largest);
      CAPTURE(largest, step);
      int exponent = 0;
      CHECK(std::frexp(step, &exponent) == 0.5f);
      CHECK(double(step) * Q15_T16::kMost >= largest);
      if (step > 0x1p-112f) CHECK(double(step) / 2 * Q15_T16::kMost < largest);
      CHECK(step * Q15_T16::inverse_of(step) == 1);
    }
  CHECK(Q15_T16::step_of(0) == 0x1p-112f);
  CHECK(std::isnan(Q15_T16::step_of(kInf)));
  CHECK(std::isnan(Q15_T16::step_of(kNan)));
}

TEST_CASE("q15_t16 rounds to half a step of its group; conversion kernels write the same bytes") {
  const uint64_t seed = GENERATE(1u, 2u);
  CAPTURE(seed);
  const int64_t T = 19, K = 1216;  // strips of 16 and 3 rows; groups of 512, 512 and 192
  std::mt19937_64 random(seed);
  std::normal_distribution<float> normal;
  std::vector<float> x(static_cast<size_t>(T * K));
  for (size_t i = 0; i < x.size(); ++i) x[i] = std::ldexp(normal(random), static_cast<int>(i / 512 % 200) - 100);
  x[700] = kNan, x[static_cast<size_t>(3 * K)] = -kInf, x[static_cast<size_t>(5 * K)] = 3e38f;
  Registry registry;
  fill_all(registry);
  ThreadPool pool(2);
  const Problem p = problem(Convert{.to = DType::q15_t16}, {matrix(DType::f32, T, K)});
  std::vector<std::byte> want;
  int tried = 0;
  for (const Kernel& k : registry.all()) {
    if (k.op != Convert::name || k.isa > detect_isa() || !k.accepts(p)) continue;
    std::vector<std::byte> out(static_cast<size_t>(p.out[0].bytes()), std::byte{0xAA});
    const TensorView in[] = {{p.in[0], x.data()}}, result[] = {{p.out[0], out.data()}};
    k.run(p, {in, result, {}, pool});
    INFO(k.name());
    if (tried++ == 0) want = out;
    CHECK(std::memcmp(out.data(), want.data(), out.size()) == 0);
  }
  REQUIRE(tried >= 2);
  std::vector<float> row(static_cast<size_t>(K));
  for (int64_t t = 0; t < T; ++t) {
    quant::decode_row_of(p.out[0], want.data(), t, row.data());
    for (int64_t k = 0; k < K; ++k) {
      float step = 0;
      std::memcpy(&step, want.data() + Q15_T16::step_at(t, k, K), 4);
      const float value = x[static_cast<size_t>(t * K + k)], got = row[static_cast<size_t>(k)];
      if (std::isnan(step) ? !std::isnan(got) : !(std::fabs(double(value) - got) <= step / 2))
        FAIL(t << ", " << k << ": " << value << " became " << got);
    }
  }
  quant::decode_row_of(p.out[0], want.data(), 0, row.data());
  CHECK(std::isnan(row[512]));
  CHECK(std::isnan(row[1023]));
  CHECK(!std::isnan(row[1024]));
}

}  // namespace
