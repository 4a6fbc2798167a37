#include <cstdio>
#include <random>

#include "core/arena.h"
#include "tests/catch.h"

using namespace kerf;

TEST_CASE("values alive at the same step never share a byte") {
  const uint64_t seed = std::random_device{}();
  std::printf("arena seed %llu\n", static_cast<unsigned long long>(seed));
  std::mt19937_64 rng(seed);
  for (int round = 0; round < 300; ++round) {
    std::vector<Lifetime> lives(1 + rng() % 60);
    for (auto& life : lives) {
      life.bytes = static_cast<int64_t>(rng() % 5000);
      life.first = rng() % 40;
      life.last = life.first + rng() % 10;
    }
    const auto layout = lay_out(lives, 64);
    int64_t most_alive = 0;
    for (size_t step = 0; step < 50; ++step) {
      int64_t alive = 0;
      for (const auto& l : lives)
        if (l.first <= step && step <= l.last) alive += l.bytes;
      most_alive = std::max(most_alive, alive);
    }
    REQUIRE(layout.bytes >= most_alive);
    for (size_t i = 0; i < lives.size(); ++i) {
      REQUIRE(layout.offsets[i] % 64 == 0);
      REQUIRE(layout.offsets[i] + lives[i].bytes <= layout.bytes);
      for (size_t j = 0; j < i; ++j) {
        const bool together = lives[i].first <= lives[j].last && lives[j].first <= lives[i].last;
        const bool apart = layout.offsets[i] + lives[i].bytes <= layout.offsets[j] || layout.offsets[j] + lives[j].bytes <= layout.offsets[i];
        REQUIRE((!together || apart || lives[i].bytes == 0 || lives[j].bytes == 0));
      }
    }
  }
}

TEST_CASE("memory of a dead value is used again") {
  const auto layout = lay_out({{1000, 0, 1}, {1000, 2, 3}, {1000, 4, 5}}, 64);
  CHECK(layout.bytes == 1024);
}
