// decode_row_wide against decode_row: every value, for every format, on random bytes.
#include <algorithm>
#include <bit>
#include <cmath>
#include <random>
#include <vector>

#include "quant/decode_wide.h"
#include "tests/catch.h"

namespace kerf {

TEST_CASE("decoding in groups gives the values of decoding by the definition") {
  const uint64_t seed = 20240607;
  INFO("seed " << seed);
  std::mt19937_64 random(seed);
  quant::Formats::for_each([&]<class F>(F) {
    INFO(name_of(F::dtype));
    const int64_t n = 64 * 256;
    std::vector<std::byte> row(static_cast<size_t>(row_bytes(F::dtype, n)));
    for (auto& b : row) b = static_cast<std::byte>(random());
    std::vector<float> want(static_cast<size_t>(n)), got(static_cast<size_t>(n), -1.f);
    quant::decode_row<F>(row.data(), n, want.data());
    quant::decode_row_wide<F>(row.data(), n, got.data());
    // Of two NaNs an addition may keep either, so only their being NaN is compared.
    const auto same = [](float a, float b) { return std::bit_cast<uint32_t>(a) == std::bit_cast<uint32_t>(b) || (std::isnan(a) && std::isnan(b)); };
    CHECK(std::equal(want.begin(), want.end(), got.begin(), same));
  });
}

}  // namespace kerf
