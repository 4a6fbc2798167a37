// core/checked.h against arithmetic in 128 bits, at the edges and at random.
#include <iostream>
#include <random>

#include "core/checked.h"
#include "tests/catch.h"

namespace kerf {
namespace {

__extension__ using u128 = unsigned __int128;
constexpr u128 kLimit = u128{1} << 64;

std::vector<uint64_t> edges() {
  std::vector<uint64_t> out{0, 1, 2, 3, ~0ull, ~0ull - 1, ~0ull - 31, 1ull << 63, (1ull << 63) - 1, (1ull << 32) - 1, 1ull << 32, (1ull << 32) + 1};
  for (int b = 2; b < 64; b += 3) out.insert(out.end(), {(1ull << b) - 1, 1ull << b, (1ull << b) + 1});
  return out;
}

void check_pair(uint64_t a, uint64_t b) {
  CAPTURE(a, b);
  const u128 sum = u128{a} + b, product = u128{a} * b;
  const auto s = checked_add(a, b), p = checked_mul(a, b);
  REQUIRE(s.has_value() == (sum < kLimit));
  REQUIRE((!s || *s == static_cast<uint64_t>(sum)));
  REQUIRE(p.has_value() == (product < kLimit));
  REQUIRE((!p || *p == static_cast<uint64_t>(product)));
}

void check_align(uint64_t n, uint64_t alignment) {
  CAPTURE(n, alignment);
  const u128 exact = (u128{n} + alignment - 1) / alignment * alignment;
  const auto got = align_up(n, alignment);
  // The sum before masking decides: where it wraps there is no multiple below 2^64 either.
  REQUIRE(got.has_value() == (exact < kLimit));
  REQUIRE((!got || *got == static_cast<uint64_t>(exact)));
}

}  // namespace

TEST_CASE("checked arithmetic equals 128-bit arithmetic") {
  constexpr uint64_t kSeed = 0x5EED;
  std::cout << "checked arithmetic: seed " << kSeed << "\n";
  std::mt19937_64 random(kSeed);
  for (const uint64_t a : edges()) {
    for (const uint64_t b : edges()) check_pair(a, b);
    for (int shift = 0; shift < 64; ++shift) check_align(a, 1ull << shift);
  }
  for (int i = 0; i < 50'000; ++i) {
    const uint64_t a = random() >> random() % 64, b = random() >> random() % 64;
    check_pair(a, b);
    check_align(a, 1ull << random() % 64);
  }
}

}  // namespace kerf
