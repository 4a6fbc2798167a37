// The mathematics of attention: masks as predicate and as range, softmax states as a monoid, the vector exp.
#include <algorithm>
#include <bit>
#include <cmath>
#include <memory>
#include <random>

#include "attention/flash.h"
#include "attention/reference.h"
#include "tests/catch.h"

namespace kerf::attention {
namespace {

constexpr double kMasked = -std::numeric_limits<double>::infinity();

/// A set of scores: its state and its weighted sum of values.
struct Partial {
  State<double> state{};
  double out = 0;
};

Partial join(const Partial& x, const Partial& y) {
  const auto m = merge(x.state, y.state);
  return {m.state, x.out * m.a + y.out * m.b};
}

/// Merges [begin, end) by splitting at random places down to single scores.
Partial any_split(std::mt19937_64& random, const std::vector<double>& scores, const std::vector<double>& values, size_t begin, size_t end) {
  if (begin == end) return {};
  if (end - begin == 1) return {single(scores[begin]), scores[begin] == kMasked ? 0 : values[begin]};
  const size_t middle = begin + random() % (end - begin + 1);  // may leave one side empty
  if (middle == begin || middle == end) {
    const Partial rest = any_split(random, scores, values, begin + 1, end), one = any_split(random, scores, values, begin, begin + 1);
    return random() % 2 ? join(join(one, {}), rest) : join({}, join(rest, one));
  }
  const Partial left = any_split(random, scores, values, begin, middle), right = any_split(random, scores, values, middle, end);
  return random() % 2 ? join(left, right) : join(right, left);
}

TEST_CASE("any split and order of a row of scores merges to the softmax") {
  const uint64_t seed = GENERATE(11u, 12u, 13u, 14u);
  CAPTURE(seed);
  std::mt19937_64 random(seed);
  std::normal_distribution<double> normal;
  for (int trial = 0; trial < 200; ++trial) {
    const size_t n = 1 + random() % 300;
    const double spread = std::pow(10.0, static_cast<double>(random() % 5) - 1);  // up to 1000: exp would overflow
    std::vector<double> scores(n), values(n);
    for (auto& s : scores) s = random() % 7 == 0 ? kMasked : spread * normal(random);
    scores[random() % n] = spread;  // at least one is visible
    for (auto& v : values) v = normal(random);
    std::vector<size_t> order(n);
    for (size_t i = 0; i < n; ++i) order[i] = i;
    std::shuffle(order.begin(), order.end(), random);
    std::vector<double> shuffled_scores, shuffled_values;
    for (const size_t i : order) shuffled_scores.push_back(scores[i]), shuffled_values.push_back(values[i]);
    const Partial all = any_split(random, shuffled_scores, shuffled_values, 0, n);

    double want = 0, size = 0;
    auto p = scores;
    softmax(p);
    for (size_t i = 0; i < n; ++i) want += p[i] * values[i], size += p[i] * std::abs(values[i]);
    CHECK(all.state.max == *std::max_element(scores.begin(), scores.end()));
    CHECK(std::abs(all.out / all.state.sum - want) <= 1e-13 * size);
  }
}

TEST_CASE("the empty set is the identity, and masked sets weigh nothing") {
  const Partial some{{3.5, 2.25}, -7};
  for (const auto& joined : {join(some, {}), join({}, some), join(some, {single(kMasked), 0}), join({{kMasked, 0}, 0}, some)}) {
    CHECK(joined.state.max == 3.5);
    CHECK(joined.state.sum == 2.25);
    CHECK(joined.out == -7);
  }
  const Partial none = join({}, join({}, {}));
  CHECK(none.state.empty());
  CHECK(none.out == 0);
  CHECK(State<float>{}.empty());
  CHECK_FALSE(single(-3e38f).empty());
}

TEST_CASE("large scores do not overflow, NaN is not lost") {
  const auto m = merge(State<float>{3e38f, 1}, State<float>{-3e38f, 5});
  CHECK(m.state.max == 3e38f);
  CHECK(m.state.sum == 1);
  const float nan = std::nanf("");
  CHECK(std::isnan(merge(single(nan), single(1.f)).state.sum));
  CHECK(std::isnan(merge(single(1.f), single(nan)).state.sum));
}

TEST_CASE("softmax by hand") {
  std::vector<double> p{std::log(1.0), std::log(3.0), kMasked, std::log(4.0)};
  softmax(p);
  CHECK(p[0] == Approx(0.125));
  CHECK(p[1] == Approx(0.375));
  CHECK(p[2] == 0);
  CHECK(p[3] == Approx(0.5));
}

TEST_CASE("the visible range is the predicate") {
  for (const int64_t window : {0, 1, 3, 100})
    for (int64_t q = 0; q < 20; ++q) {
      const Range r = visible_keys(q, window);
      for (int64_t k = 0; k < 25; ++k) {
        const bool expected = k <= q && (window == 0 || k > q - window);
        CHECK(visible(q, k, window) == expected);
        CHECK((r.begin <= k && k < r.end) == expected);
      }
      CHECK(r.end > r.begin);
    }
  CHECK(kv_head(5, 12, 4) == 1);
  CHECK(kv_head(11, 12, 4) == 3);
  CHECK(kv_head(3, 4, 4) == 3);
}

/// Four floats as a vector: flash.h without any instruction set.
struct Four {
  struct V {
    float x[4];
  };
  static constexpr int64_t width = 4;
  static constexpr int max_rows = 3;
  template <class F>
  static V map(F&& f) {
    V v;
    for (int i = 0; i < 4; ++i) v.x[i] = f(i);
    return v;
  }
  static V load(const float* p) {
    return map([=](int i) { return p[i]; });
  }
  static V load(const uint16_t* p) {
    return map([=](int i) { return half_to_float(p[i]); });
  }
  static void store(float* p, V v) { std::copy(v.x, v.x + 4, p); }
  static V all(float x) {
    return map([=](int) { return x; });
  }
  static V add(V a, V b) {
    return map([&](int i) { return a.x[i] + b.x[i]; });
  }
  static V mul(V a, V b) {
    return map([&](int i) { return a.x[i] * b.x[i]; });
  }
  static V fma(V a, V b, V c) {
    return map([&](int i) { return std::fma(a.x[i], b.x[i], c.x[i]); });
  }
  static V max(V a, V b) {
    return map([&](int i) { return a.x[i] > b.x[i] ? a.x[i] : b.x[i]; });
  }
  static V round(V v) {
    return map([&](int i) { return std::nearbyint(v.x[i]); });
  }
  static V zero_below(V x, V limit, V y) {
    return map([&](int i) { return x.x[i] < limit.x[i] ? 0 : y.x[i]; });
  }
  static V times_pow2(V v, V n) {
    return map([&](int i) { return std::ldexp(v.x[i], static_cast<int>(n.x[i])); });
  }
  static void transpose(V* r) {
    for (int i = 0; i < 4; ++i)
      for (int j = 0; j < i; ++j) std::swap(r[i].x[j], r[j].x[i]);
  }
};
static_assert(Lanes<Four>);

TEST_CASE("exp_nonpositive against double") {
  double worst = 0;
  // Every 1009th float from -0 down to -87.33, four at a time.
  for (uint32_t bits = 0x80000000u; std::bit_cast<float>(bits) > -87.3f; bits += 4 * 1009) {
    const auto x = Four::map([=](int i) { return std::max(-87.3f, std::bit_cast<float>(bits + 1009 * static_cast<uint32_t>(i))); });
    const auto y = exp_nonpositive<Four>(x);
    for (int i = 0; i < 4; ++i) {
      const double want = std::exp(double(x.x[i]));
      worst = std::max(worst, std::abs(y.x[i] - want) / std::ldexp(1.0, std::ilogb(want) - 23));
    }
  }
  INFO("worst error in ulp: " << worst);
  CHECK(worst < 1.0);
  const float nan = std::nanf(""), infinity = std::numeric_limits<float>::infinity();
  const auto y = exp_nonpositive<Four>({{-infinity, -200.f, nan, 0.f}});
  CHECK(y.x[0] == 0);
  CHECK(y.x[1] == 0);
  CHECK(std::isnan(y.x[2]));
  CHECK(y.x[3] == 1);
}

TEST_CASE("a tile in chunks against the reference, head sizes and ranges of all kinds") {
  const uint64_t seed = 77;
  CAPTURE(seed);
  std::mt19937_64 random(seed);
  std::normal_distribution<float> normal;
  for (const int64_t hd : {1, 3, 4, 15, 16, 40}) {
    const int64_t n = 530;
    std::vector<float> k(static_cast<size_t>(n * hd)), v(k.size()), q(static_cast<size_t>(7 * hd)), out(q.size(), std::nanf(""));
    for (auto* all : {&k, &v, &q})
      for (float& x : *all) x = normal(random);
    Tile tile{.rows = 7, .scale = 0.3f};
    const Range ranges[] = {{0, 1}, {0, 256}, {0, 257}, {255, 258}, {300, 530}, {0, 530}, {512, 513}};
    std::vector<float*> rows;
    for (size_t r = 0; r < 7; ++r) {
      tile.q[r] = q.data() + static_cast<int64_t>(r) * hd;
      tile.keys[r] = ranges[r];
      rows.push_back(out.data() + static_cast<int64_t>(r) * hd);
    }
    std::vector<State<float>> state(7);
    const auto work = std::make_unique<Workspace>();
    for (int64_t c = 0; c < n; c += kChunk)
      attend_chunk<Four>(tile, Cache<const float*>{k.data(), v.data(), hd}, {c, std::min(c + kChunk, n)}, rows.data(), state.data(), *work);
    for (size_t r = 0; r < 7; ++r) {
      const auto part = [&](const std::vector<float>& from, Range range) {
        return std::vector<double>(from.begin() + range.begin * hd, from.begin() + range.end * hd);
      };
      std::vector<double> want(static_cast<size_t>(hd));
      const auto row = static_cast<int64_t>(r);
      reference(part(q, {row, row + 1}), part(k, ranges[r]), part(v, ranges[r]), 0.3f, want);
      for (int64_t d = 0; d < hd; ++d) CHECK(rows[r][d] / state[r].sum == Approx(want[d]).margin(2e-6));
    }
  }
}

}  // namespace
}  // namespace kerf::attention
