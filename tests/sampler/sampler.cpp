// The sampler: exact candidate sets, the distribution of draws, repeatability, refusals.
#include "experiments/sampler.h"

#include <cmath>
#include <limits>
#include <random>

#include "core/error.h"
#include "tests/catch.h"

using kerf::Sampler;
using kerf::SamplerOptions;

namespace {

constexpr SamplerOptions kOpen{.temp = 1, .top_k = 0, .top_p = 1, .min_p = 0};

std::vector<int32_t> ids(SamplerOptions options, const std::vector<float>& logits) {
  std::vector<int32_t> out;
  for (const auto& c : Sampler(options).candidates(logits)) out.push_back(c.id);
  return out;
}

std::vector<float> logs(const std::vector<double>& p) {
  std::vector<float> out;
  for (const double x : p) out.push_back(static_cast<float>(std::log(x)));
  return out;
}

/// Upper tail of chi-square with k degrees of freedom by Wilson & Hilferty's cube root (1931), good to a few per cent at
/// the probabilities used here.
double chi_square_tail(double x, double k) {
  const double z = (std::cbrt(x / k) - (1 - 2 / (9 * k))) / std::sqrt(2 / (9 * k));
  return 0.5 * std::erfc(z / std::sqrt(2.0));
}

}  // namespace

TEST_CASE("greedy takes the largest logit, the lowest id on a tie, whatever the other options are") {
  Sampler s({.temp = 0, .top_k = 5, .seed = 3});
  CHECK(s.next(std::vector<float>{1, 5, 2, 5, 5}) == 1);
  CHECK(s.next(std::vector<float>{-1, -3, -1}) == 0);
  CHECK(s.next(std::vector<float>{7}) == 0);
}

TEST_CASE("top-k keeps exactly k, ties by id") {
  SamplerOptions o = kOpen;
  o.top_k = 3;
  CHECK(ids(o, {0, 4, 1, 3, 2}) == std::vector<int32_t>{1, 3, 4});
  CHECK(ids(o, {1, 1, 1, 1}) == std::vector<int32_t>{0, 1, 2});
  CHECK(ids(o, {1, 2}) == std::vector<int32_t>{1, 0});
  o.top_k = 0;
  CHECK(ids(o, {0, 4, 1}).size() == 3);
}

TEST_CASE("top-p keeps the fewest that reach the mass") {
  SamplerOptions o = kOpen;
  const auto logits = logs({0.1, 0.4, 0.2, 0.3});
  for (const auto& [p, expected] : std::vector<std::pair<float, std::vector<int32_t>>>{{0.0f, {1}},
                                                                                       {0.39f, {1}},
                                                                                       {0.41f, {1, 3}},
                                                                                       {0.69f, {1, 3}},
                                                                                       {0.71f, {1, 3, 2}},
                                                                                       {0.89f, {1, 3, 2}},
                                                                                       {0.91f, {1, 3, 2, 0}},
                                                                                       {1.0f, {1, 3, 2, 0}}}) {
    o.top_p = p;
    CHECK(ids(o, logits) == expected);
  }
}

TEST_CASE("min-p keeps those near the best") {
  SamplerOptions o = kOpen;
  const auto logits = logs({0.1, 0.4, 0.2, 0.3});
  for (const auto& [p, expected] : std::vector<std::pair<float, std::vector<int32_t>>>{
           {0.24f, {1, 3, 2, 0}}, {0.26f, {1, 3, 2}}, {0.49f, {1, 3, 2}}, {0.51f, {1, 3}}, {0.76f, {1}}, {1.0f, {1}}}) {
    o.min_p = p;
    CHECK(ids(o, logits) == expected);
  }
}

TEST_CASE("the filters look at the probabilities before temperature, among those that top-k left") {
  SamplerOptions o = kOpen;
  o.temp = 100;  // nearly flat afterwards: min-p after temperature would keep all
  o.min_p = 0.5f;
  CHECK(ids(o, logs({0.7, 0.2, 0.1})) == std::vector<int32_t>{0});
  o = kOpen;
  o.top_k = 2;
  o.top_p = 0.65f;  // 0.4 of 0.6 left is 0.667
  CHECK(ids(o, logs({0.4, 0.2, 0.2, 0.2})) == std::vector<int32_t>{0});
}

TEST_CASE("temperature shapes the probabilities") {
  SamplerOptions o = kOpen;
  o.temp = 2;
  const auto c = Sampler(o).candidates(logs({0.8, 0.2}));
  CHECK(c[0].p == Approx(std::sqrt(0.8) / (std::sqrt(0.8) + std::sqrt(0.2))).epsilon(1e-6));
  CHECK(c[0].p + c[1].p == Approx(1));
}

TEST_CASE("repeat penalty divides positive logits and multiplies negative ones of the last n tokens, each once") {
  SamplerOptions o = kOpen;
  o.repeat_penalty = 2;
  o.repeat_last_n = 2;
  Sampler s(o);
  for (const int32_t id : {2, 0, 1, 1}) s.accept(id);  // the window holds 1 and 1
  s.accept(0);                                         // now 1 and 0
  std::vector<float> found(4);
  for (const auto& c : s.candidates(std::vector<float>{4, -3, 5, 1})) found[static_cast<size_t>(c.id)] = c.logit;
  CHECK(found == std::vector<float>{2, -6, 5, 1});
  s.accept(99999);  // a token outside this vocabulary is no one's penalty
  s.accept(-1);
  CHECK(s.candidates(std::vector<float>{4, -3, 5, 1})[0].id == 2);
}

TEST_CASE("one seed gives one sequence, on every platform") {
  std::vector<float> logits(50);
  for (size_t i = 0; i < logits.size(); ++i) logits[i] = static_cast<float>(i % 7) * 0.25f;
  const auto draw = [&](uint64_t seed) {
    Sampler s({.temp = 1, .top_k = 0, .top_p = 1, .min_p = 0, .seed = seed});
    std::vector<int32_t> out;
    for (int i = 0; i < 64; ++i) out.push_back(s.next(logits));
    return out;
  };
  CHECK(draw(1) == draw(1));
  CHECK(draw(1) != draw(2));
  // mt19937_64 seeded with 5489 gives 14514284786278117030 first (its published sequence): u = 0.78682..
  std::vector<float> quarters(4, 0.0f);
  Sampler s({.temp = 1, .top_k = 0, .top_p = 1, .min_p = 0, .seed = 5489});
  CHECK(s.next(quarters) == 3);
}

TEST_CASE("10^6 draws follow the probabilities") {
  const uint64_t seed = std::random_device{}() | uint64_t{std::random_device{}()} << 32;
  INFO("seed " << seed);
  std::mt19937_64 random(seed);
  std::vector<float> logits(20);
  for (float& l : logits) l = static_cast<float>(random() % 4000) / 1000.0f - 2;
  Sampler s({.temp = 0.7f, .top_k = 0, .top_p = 1, .min_p = 0, .seed = seed});
  constexpr int n = 1'000'000;
  std::vector<int> count(logits.size());
  for (int i = 0; i < n; ++i) ++count[static_cast<size_t>(s.next(logits))];
  double chi = 0;
  double sum = 0;
  for (const float l : logits) sum += std::exp(static_cast<double>(l) / static_cast<double>(0.7f));
  for (size_t i = 0; i < logits.size(); ++i) {
    const double expected = n * std::exp(static_cast<double>(logits[i]) / static_cast<double>(0.7f)) / sum;
    chi += (count[i] - expected) * (count[i] - expected) / expected;
  }
  CHECK(chi_square_tail(chi, static_cast<double>(logits.size() - 1)) > 1e-4);
}

TEST_CASE("a logit that is not finite is an error that names its place") {
  for (const float bad : {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity(), -std::numeric_limits<float>::infinity()}) {
    for (const float temp : {0.0f, 1.0f}) {
      Sampler s({.temp = temp});
      try {
        s.next(std::vector<float>{1, bad, 2}, "position 17");
        FAIL("accepted");
      } catch (const kerf::Error& e) {
        CHECK(std::string(e.what()).find("position 17") != std::string::npos);
        CHECK(std::string(e.what()).find("token 1") != std::string::npos);
      }
    }
  }
}

TEST_CASE("options out of range are refused by name") {
  const auto refuse = [](SamplerOptions o, const std::string& flag) {
    try {
      Sampler s(o);
      FAIL(flag << " accepted");
    } catch (const kerf::Error& e) {
      CHECK(e.kind == kerf::ErrorKind::usage);
      CHECK(std::string(e.what()).find(flag) != std::string::npos);
    }
  };
  refuse({.temp = -1}, "--temp");
  refuse({.temp = std::numeric_limits<float>::quiet_NaN()}, "--temp");
  refuse({.top_p = 1.5f}, "--top-p");
  refuse({.min_p = -0.1f}, "--min-p");
  refuse({.repeat_penalty = 0}, "--repeat-penalty");
  refuse({.repeat_last_n = -2}, "--repeat-last-n");
}
