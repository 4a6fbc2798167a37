// The reference is the truth for all other kernels, so it is held against values worked out by hand and closed forms.
#include <cmath>
#include <cstring>
#include <limits>
#include <numbers>

#include "backends/backends.h"
#include "core/cost.h"
#include "core/half.h"
#include "core/threadpool.h"
#include "tests/catch.h"

namespace kerf {
namespace {

/// Runs the reference kernel of an op on vectors; the output as its bytes.
struct Bench {
  Registry registry;
  ThreadPool pool{1};
  Bench() { fill_reference(registry); }

  /// All outputs; one that is a newer version of an input is that input's memory, which is returned as it is then.
  std::vector<std::vector<std::byte>> all(const Op& op, std::vector<TensorView> in) {
    std::vector<TensorDesc> descs;
    for (const auto& v : in) descs.push_back(v.desc);
    const Problem p = problem(op, descs);
    const Kernel* k = registry.find("reference/" + std::string(name_of(op)));
    REQUIRE(k);
    REQUIRE(k->accepts(p).why_not == "");
    std::vector<std::vector<std::byte>> out;
    for (const auto& d : p.out) out.emplace_back(static_cast<size_t>(d.bytes()));
    std::vector<TensorView> results;
    for (size_t i = 0; i < out.size(); ++i) {
      const auto from = alias_of(op, i);
      results.push_back({p.out[i], from ? in[*from].data : out[i].data()});
    }
    k->run(p, {in, results, {}, pool});
    for (size_t i = 0; i < out.size(); ++i) std::memcpy(out[i].data(), results[i].data, out[i].size());
    return out;
  }
  std::vector<std::byte> bytes(const Op& op, std::vector<TensorView> in) { return all(op, std::move(in))[0]; }
  template <class T = float>
  std::vector<T> run(const Op& op, std::vector<TensorView> in, size_t output = 0) {
    const auto out = all(op, std::move(in))[output];
    std::vector<T> values(out.size() / sizeof(T));
    std::memcpy(values.data(), out.data(), out.size());
    return values;
  }
};

template <class T>
TensorView view(DType type, std::vector<T>& v, int64_t rows = 1) {
  return {matrix(type, rows, static_cast<int64_t>(v.size()) / rows), v.data()};
}
TensorView f32(std::vector<float>& v, int64_t rows = 1) { return view(DType::f32, v, rows); }
TensorView i32(std::vector<int32_t>& v, int64_t rows = 1) { return view(DType::i32, v, rows); }
/// [1, outer, rows, cols]: experts' weights, states by head.
TensorView f32(std::vector<float>& v, int64_t outer, int64_t rows) {
  return {{DType::f32, {1, outer, rows, static_cast<int64_t>(v.size()) / outer / rows}}, v.data()};
}

void close(const std::vector<float>& got, const std::vector<double>& want, double relative = 6e-8) {
  REQUIRE(got.size() == want.size());
  for (size_t i = 0; i < want.size(); ++i) {
    INFO("element " << i << ": " << got[i] << " and " << want[i]);
    CHECK(std::abs(got[i] - want[i]) <= relative * std::abs(want[i]) + 1e-12);
  }
}

TEST_CASE("rows, add, matmul by hand") {
  Bench b;
  std::vector<float> table{1, 2, 3, 4, 5, 6}, x{1, -2, 0.5f, 4};
  std::vector<int32_t> ids{2, 0, 2};
  CHECK(b.run(Rows{}, {f32(table, 3), i32(ids)}) == std::vector<float>{5, 6, 1, 2, 5, 6});
  std::vector<float> bias{10, 20};
  CHECK(b.run(Add{}, {f32(x, 2), f32(bias)}) == std::vector<float>{11, 18, 10.5f, 24});
  CHECK(b.run(Add{}, {f32(x, 2), f32(x, 2)}) == std::vector<float>{2, -4, 1, 8});
  // x = (1 -2; 0.5 4), w rows (1 2) (3 4) (5 6)
  CHECK(b.run(MatMul{}, {f32(x, 2), f32(table, 3)}) == std::vector<float>{-3, -5, -7, 8.5f, 17.5f, 26.5f});
}

TEST_CASE("matmul in q8_0 and q8_g16: scale times codes") {
  Bench b;
  std::vector<std::byte> w(34);
  const uint16_t half = float_to_half(0.5f);
  std::memcpy(w.data(), &half, 2);
  for (int i = 0; i < 32; ++i) w[2 + i] = static_cast<std::byte>(i - 16);  // 0.5 * (i - 16)
  std::vector<float> x(32, 2);
  CHECK(b.run(MatMul{}, {f32(x), {matrix(DType::q8_0, 1, 32), w.data()}}) == std::vector<float>{-16});
  x.assign(32, 0);
  for (int i = 0; i < 32; ++i) x[i] = i < 16 ? 127.f : -254.f;  // groups of 16 with d = 1 and 2
  auto q = b.bytes(Convert{DType::q8_g16}, {f32(x)});
  REQUIRE(q.size() == 48);
  CHECK(q[0] == std::byte{127});
  CHECK(q[31] == std::byte{0x81});
  const TensorView activations{matrix(DType::q8_g16, 1, 32), q.data()};
  // 127 * 0.5 * sum(-16..-1) - 254 * 0.5 * sum(0..15) = 63.5 * -136 - 127 * 120
  CHECK(b.run(MatMul{}, {activations, {matrix(DType::q8_0, 1, 32), w.data()}}) == std::vector<float>{-8636.f - 15240.f});
  CHECK(b.run(Convert{DType::f32}, {activations}) == x);
}

TEST_CASE("rms_norm: a vector of equal size in each component, groups with one weight, eps") {
  Bench b;
  std::vector<float> x{3, 4, 0, 0, -2, 2, -2, 2}, w{1, 1, 2, 0.5f};
  // group 1: mean square 25/4, root 2.5; group 2: root 2
  close(b.run(RmsNorm{.eps = 0}, {f32(x), f32(w)}), {1.2, 1.6, 0, 0, -1, 1, -2, 0.5});
  std::vector<float> zero{0, 0}, one{1, 1};
  CHECK(b.run(RmsNorm{.eps = 1e-6f}, {f32(zero), f32(one)}) == std::vector<float>{0, 0});
  std::vector<float> small{1e-3f, 1e-3f};
  close(b.run(RmsNorm{.eps = 3e-6f}, {f32(small), f32(one)}), {0.5, 0.5}, 1e-7);
}

TEST_CASE("rope_table: angles p base^(-2i/dims), factors, linear scaling") {
  Bench b;
  std::vector<int32_t> at{0, 1, 100};
  std::vector<double> want;
  for (const int p : at) {
    for (const double angle : {p * 1.0, p * 0.01}) want.push_back(std::cos(angle));
    for (const double angle : {p * 1.0, p * 0.01}) want.push_back(std::sin(angle));
  }
  close(b.run(RopeTable{.dims = 4, .base = 10000}, {i32(at)}), want);
  std::vector<float> factors{2, 4};
  std::vector<int32_t> four{4};
  close(b.run(RopeTable{.dims = 4, .base = 10000, .freq_scale = 0.5f, .magnitude = 3}, {i32(four), f32(factors)}),
        {3 * std::cos(1.0), 3 * std::cos(0.005), 3 * std::sin(1.0), 3 * std::sin(0.005)});
}

TEST_CASE("rope_table: YaRN keeps fast pairs, interpolates slow ones, ramps between") {
  Bench b;
  // dims 4, base 10^4, context 1024 pi: pair 0 turns 512 times in it, pair 1 5.12 times.
  // corr(beta) = dims ln(context / (2 pi beta)) / (2 ln base): corr(32) = 4 ln 16 / (2 ln 10^4) = 0.602, corr(1) = 4 ln 512 / ... = 1.355.
  // low = 0, high = min(3, 2) = 2: the ramp gives pair 0 all of the extrapolation and pair 1 half of it.
  std::vector<int32_t> at{50};
  const RopeTable yarn{.dims = 4, .base = 10000, .freq_scale = 0.25f, .yarn_ext_factor = 1, .original_context = 3217};
  const double pair0 = 50, pair1 = 0.5 * (0.5 * 0.25 + 0.5);
  close(b.run(yarn, {i32(at)}), {std::cos(pair0), std::cos(pair1), std::sin(pair0), std::sin(pair1)});
}

TEST_CASE("rope: quarter turns in both pairings, partial dims copied, lengths kept") {
  Bench b;
  std::vector<float> x{1, 2, 3, 4, 5, 6}, table{0, 1, 1, 0};  // angles pi/2 and 0: cos 0, 1; sin 1, 0
  CHECK(b.run(Rope{.head_dim = 6, .pairing = RopePairing::norm}, {f32(x), f32(table)}) == std::vector<float>{-2, 1, 3, 4, 5, 6});
  CHECK(b.run(Rope{.head_dim = 6, .pairing = RopePairing::neox}, {f32(x), f32(table)}) == std::vector<float>{-3, 2, 1, 4, 5, 6});
  // q at position m and k at position n: the product depends on m - n only (Su et al. 2021, eq. 11)
  std::vector<float> q{0.3f, -1.2f, 0.7f, 2.f}, k{1.1f, 0.4f, -0.6f, 0.9f};
  const auto rotated = [&](std::vector<float>& v, int32_t position) {
    std::vector<int32_t> at{position};
    auto angles = b.run(RopeTable{.dims = 4}, {i32(at)});
    return b.run(Rope{.head_dim = 4, .pairing = RopePairing::neox}, {f32(v), f32(angles)});
  };
  const auto dot = [](const std::vector<float>& s, const std::vector<float>& t) {
    double sum = 0;
    for (size_t i = 0; i < s.size(); ++i) sum += double(s[i]) * t[i];
    return sum;
  };
  CHECK(dot(rotated(q, 7), rotated(k, 3)) == Approx(dot(rotated(q, 1004), rotated(k, 1000))).epsilon(1e-6));
}

TEST_CASE("kv_write: rows by position, ties to even, other rows untouched") {
  Bench b;
  std::vector<uint16_t> state(2 * 3 * 2, 0x1234);  // [Hkv 2, n_ctx 3, hd 2]
  std::vector<float> x{1, 2, 3, 4, 2049, 2051, 65519.996f, 65520};
  std::vector<int32_t> at{2, 0};
  b.bytes(KvWrite{}, {{{DType::f16, {1, 2, 3, 2}}, state.data()}, f32(x, 2), i32(at)});
  const std::vector<uint16_t> want{0x6800, 0x6802, 0x1234, 0x1234, 0x3C00, 0x4000,   // head 0: 2048, 2052 (ties), -, 1 2
                                   0x7BFF, 0x7C00, 0x1234, 0x1234, 0x4200, 0x4400};  // head 1: 65504, infinity, -, 3 4
  CHECK(state == want);
}

TEST_CASE("attention: one key gives its value, equal scores the mean, window and groups") {
  Bench b;
  std::vector<float> q{1, 2, -3, 0.5f}, k{1, 0, 0, 1, 5, 5}, v{1, 2, 3, 5, 100, 200};  // H 2 x hd 2; Hkv 1 x n_ctx 3 x hd 2
  const auto run = [&](std::vector<float>& queries, int32_t position, int window, int heads = 2) {
    std::vector<int32_t> at{position};
    const TensorDesc state{DType::f32, {1, 1, 3, 2}};
    return b.run(Attention{.n_head = heads, .scale = 0.5f, .window = window}, {f32(queries), {state, k.data()}, {state, v.data()}, i32(at)});
  };
  CHECK(run(q, 0, 0) == std::vector<float>{1, 2, 1, 2});
  CHECK(run(q, 1, 1) == std::vector<float>{3, 5, 3, 5});
  // position 1: scores 0.5, 1 for head 0 and -1.5, 0.25 for head 1
  const double p = 1 / (1 + std::exp(0.5)), r = 1 / (1 + std::exp(1.75));
  close(run(q, 1, 0), {p * 1 + (1 - p) * 3, p * 2 + (1 - p) * 5, r * 1 + (1 - r) * 3, r * 2 + (1 - r) * 5}, 1e-7);
  std::vector<float> nothing{0, 0};
  close(run(nothing, 2, 0, 1), {104. / 3, 207. / 3}, 1e-7);
  // two key/value heads: query head h reads head h / 2
  std::vector<float> four(4, 1), k2{0, 0}, v2{7, -7};
  std::vector<int32_t> zero{0};
  const TensorDesc state{DType::f32, {1, 2, 1, 1}};
  CHECK(b.run(Attention{.n_head = 4}, {f32(four), {state, k2.data()}, {state, v2.data()}, i32(zero)}) == std::vector<float>{7, 7, -7, -7});
}

TEST_CASE("swiglu: silu(x) = x / (1 + e^-x), far ends") {
  Bench b;
  std::vector<float> gate{0, 1, -1, 100, -1000}, up{5, 2, 2, 0.5f, 3};
  close(b.run(SwiGlu{}, {f32(gate), f32(up)}), {0, 2 / (1 + std::exp(-1.0)), -2 / (1 + std::numbers::e), 50, 0});
}

TEST_CASE("columns: a range of each group, group after group") {
  Bench b;
  std::vector<float> x{0, 1, 2, 3, 4, 5, 10, 11, 12, 13, 14, 15};
  CHECK(b.run(Columns{.group = 3, .first = 1, .count = 2}, {f32(x, 2)}) == std::vector<float>{1, 2, 4, 5, 11, 12, 14, 15});
  CHECK(b.run(Columns{.group = 6, .first = 5, .count = 1}, {f32(x, 2)}) == std::vector<float>{5, 15});
}

TEST_CASE("sigmoid_gate: a gate for each value, or one for the row") {
  Bench b;
  std::vector<float> x{2, -4, 6, 8}, gate{0, 1000, -1000, 1}, row{0, -1};
  const double e = std::numbers::e;
  close(b.run(SigmoidGate{}, {f32(x, 2), f32(gate, 2)}), {1, -4, 0, 8 * e / (e + 1)});
  close(b.run(SigmoidGate{}, {f32(x, 2), f32(row, 2)}), {1, -2, 6 / (1 + e), 8 / (1 + e)});
}

TEST_CASE("router: falling, of equal ones the lower id first; weights of all or of the chosen") {
  Bench b;
  // exp: 1 2 4 2 1, sum 10
  std::vector<float> logits{0, std::log(2.f), std::log(4.f), std::log(2.f), 0};
  CHECK(b.run<int32_t>(Router{.used = 4}, {f32(logits)}) == std::vector<int32_t>{2, 1, 3, 0});
  close(b.run(Router{.used = 2, .renormalize = false}, {f32(logits)}, 1), {0.4, 0.2}, 2e-7);
  close(b.run(Router{.used = 2, .renormalize = true}, {f32(logits)}, 1), {4. / 6, 2. / 6}, 2e-7);
  close(b.run(Router{.used = 5, .renormalize = true}, {f32(logits)}, 1), {0.4, 0.2, 0.2, 0.1, 0.1}, 2e-7);
  std::vector<float> rows{1, 1, 1, -5, 300, -300};  // two tokens; exp(300) is beyond f32
  CHECK(b.run<int32_t>(Router{.used = 2}, {f32(rows, 2)}) == std::vector<int32_t>{0, 1, 1, 0});
  CHECK(b.run(Router{.used = 2}, {f32(rows, 2)}, 1) == std::vector<float>{0.5f, 0.5f, 1, 0});
  // 2^15 experts alike: the chosen one has 2^-15 of the whole, and is divided by 2^-14
  std::vector<float> alike(size_t{1} << 15, 3);
  CHECK(b.run(Router{.used = 1}, {f32(alike)}, 1) == std::vector<float>{0.5f});
}

TEST_CASE("argmax: the first of the largest; a row that has none says where") {
  Bench b;
  const float nan = std::numeric_limits<float>::quiet_NaN(), infinity = std::numeric_limits<float>::infinity();
  std::vector<float> rows{-3, 2, 1, 2, -0.f, -1, 0, -2};
  CHECK(b.run<int32_t>(Argmax{}, {f32(rows, 2)}) == std::vector<int32_t>{1, 0});
  std::vector<float> bad{1, 2, nan, infinity, 9, -infinity, 9, nan};
  CHECK(b.run<int32_t>(Argmax{}, {f32(bad, 2)}) == std::vector<int32_t>{~2, ~1});
  std::vector<float> one{-7};
  CHECK(b.run<int32_t>(Argmax{}, {f32(one)}) == std::vector<int32_t>{0});
}

TEST_CASE("expert ops: three experts, two per token") {
  Bench b;
  // experts [3][2 rows][2]: the identity, twice the exchange, ones
  std::vector<float> w{1, 0, 0, 1, 0, 2, 2, 0, 1, 1, 1, 1}, x{3, -1, 5, 7};
  std::vector<int32_t> ids{1, 0, 2, 1};
  const std::vector<float> each{-2, 6, 3, -1, 12, 12, 14, 10};
  CHECK(b.run(ExpertMatMul{}, {f32(x, 2), f32(w, 3, 2), i32(ids, 2)}) == each);
  std::vector<float> slots{3, -1, 3, -1, 5, 7, 5, 7};  // the same rows, one for each slot
  CHECK(b.run(ExpertMatMul{}, {f32(slots, 4), f32(w, 3, 2), i32(ids, 2)}) == each);
  std::vector<float> y = each, weights{0.5f, 2, 1, -1};
  const std::vector<float> sums{5, 1, -2, 2};
  CHECK(b.run(ExpertSum{}, {f32(y, 4), f32(weights, 2)}) == sums);
  CHECK(b.run(ExpertMatMulSum{}, {f32(slots, 4), f32(w, 3, 2), i32(ids, 2), f32(weights, 2)}) == sums);
  std::vector<float> ones(12, 1);
  const auto silu = [](double v) { return v / (1 + std::exp(-v)); };
  close(b.run(ExpertSwiGlu{}, {f32(x, 2), f32(w, 3, 2), f32(ones, 3, 2), i32(ids, 2)}),
        {2 * silu(-2), 2 * silu(6), 2 * silu(3), 2 * silu(-1), 12 * silu(12), 12 * silu(12), 12 * silu(14), 12 * silu(10)});
}

TEST_CASE("l2_norm: groups of length one, eps under the root") {
  Bench b;
  std::vector<float> four{3, 4, -5, 12}, x{3, 4, -5, 12, 0, 0};
  close(b.run(L2Norm{.group = 2, .eps = 0}, {f32(four)}), {0.6, 0.8, -5. / 13, 12. / 13});
  close(b.run(L2Norm{.group = 2, .eps = 11}, {f32(x)}), {0.5, 4. / 6, -5 / std::sqrt(180.), 12 / std::sqrt(180.), 0, 0});
}

TEST_CASE("gated_rms_norm: norm first, then silu of the gate") {
  Bench b;
  std::vector<float> x{3, 4, 0, 0, -2, 2, -2, 2}, w{1, 1, 2, 0.5f}, z{0, 1, 5, -1, 1000, -1000, 2, -1};
  const auto silu = [](double v) { return v / (1 + std::exp(-v)); };
  close(b.run(GatedRmsNorm{.eps = 0}, {f32(x), f32(w), f32(z)}), {0, 1.6 * silu(1), 0, 0, -1000, 0, -2 * silu(2), 0.5 * silu(-1)});
}

TEST_CASE("causal_conv: taps over time, outputs by channel, the state over two calls") {
  Bench b;
  // two channels of keys, q and k one each, one of values; three taps
  std::vector<float> w{1, 10, 100, 0, 0, 1, -1, 0, 1}, state(6, 77), first{1, 2, 3, 4, 5, 6, 7, 8, 9}, second{10, 11, 12};
  std::vector<int32_t> at{0, 1, 2}, next{3};
  const auto silu = [](double v) { return v / (1 + std::exp(-v)); };
  const auto conv = [&](std::vector<float>& x, std::vector<int32_t>& positions) {
    return b.all(CausalConv{.keys = 1}, {f32(x, static_cast<int64_t>(positions.size())), f32(w, 3), f32(state, 2), i32(positions)});
  };
  const auto values = [](const std::vector<std::byte>& bytes) {
    std::vector<float> v(bytes.size() / 4);
    std::memcpy(v.data(), bytes.data(), bytes.size());
    return v;
  };
  auto out = conv(first, at);  // from position 0 on: the state's 77 are not seen
  close(values(out[0]), {silu(100), silu(10 + 400), silu(1 + 40 + 700)});
  close(values(out[1]), {silu(2), silu(5), silu(8)});
  close(values(out[2]), {silu(3), silu(6), silu(9 - 3)});
  CHECK(state == std::vector<float>{4, 5, 6, 7, 8, 9});
  out = conv(second, next);  // fewer tokens than the state has rows
  close(values(out[0]), {silu(4 + 70 + 1000)});
  close(values(out[1]), {silu(11)});
  close(values(out[2]), {silu(12 - 6)});
  CHECK(state == std::vector<float>{7, 8, 9, 10, 11, 12});
}

TEST_CASE("delta_gates: softplus and sigmoid where they are closed forms") {
  Bench b;
  std::vector<float> alpha{0, 1000, -1000, 1, 2, 3}, dt{0, 0, 0}, a{-2, -3, -4}, beta{0, 1000, -1000, 1, -1, 0};
  dt[2] = -3;
  const double e = std::numbers::e;
  close(b.run(DeltaGates{}, {f32(alpha, 2), f32(dt), f32(a), f32(beta, 2)}),
        {-2 * std::log(2.), -3000, 0, -2 * std::log1p(e), -3 * std::log1p(e * e), -4 * std::log(2.)});
  close(b.run(DeltaGates{}, {f32(alpha, 2), f32(dt), f32(a), f32(beta, 2)}, 1), {0.5, 1, 0, e / (1 + e), 1 / (1 + e), 0.5});
}

TEST_CASE("gated_delta_rule: two tokens by hand") {
  Bench b;
  // One head, dk = 2, dv = 2, state rows (1 2) (3 4). Token 1 halves them to (0.5 1) (1.5 2), which hold 0.5 and 1.5 under the key
  // (1 0); with rate 0.5 and values (2.5 -0.5) they change by 1 and -1 along it: (1.5 1) (0.5 2). Under the query (1 2): 3.5 and 4.5.
  // Token 2 keeps them; under its key (0 1) they hold 1 and 2, with rate 1 and values (4 0) they change by 3 and -2: (1.5 4) (0.5 0).
  std::vector<float> q{1, 2, 1, -1}, k{1, 0, 0, 1}, v{2.5f, -0.5f, 4, 0}, g{static_cast<float>(std::log(0.5)), 0}, rate{0.5f, 1}, state{1, 2, 3, 4};
  std::vector<int32_t> at{7, 8}, begin{0, 1};
  const auto rule = [&](std::vector<int32_t>& positions) {
    return b.run(GatedDeltaRule{.n_head_k = 1, .scale = 2},
                 {f32(q, 2), f32(k, 2), f32(v, 2), f32(g, 2), f32(rate, 2), f32(state, 1, 2), i32(positions)});
  };
  close(rule(at), {7, 9, -5, 1}, 2e-7);
  close(state, {1.5, 4, 0.5, 0}, 2e-7);
  // From position 0 on the same tokens find nothing: rows (1.25 0) (-0.25 0), then (1.25 4) (-0.25 0).
  state.assign(4, std::numeric_limits<float>::quiet_NaN());
  close(rule(begin), {2.5, -0.5, -5.5, -0.5}, 2e-7);
  close(state, {1.25, 4, -0.25, 0}, 2e-7);
}

TEST_CASE("gated_delta_rule: heads of values read heads of keys grouped or in turns") {
  Bench b;
  // Two heads of keys, four of values, dk = dv = 1, an empty state: out = q k v of the heads.
  std::vector<float> q{1, 10}, k{1, 1}, v{1, 2, 3, 4}, g(4), rate(4, 1);
  std::vector<int32_t> at{0};
  const auto rule = [&](HeadOrder order) {
    std::vector<float> state(4);
    return b.run(GatedDeltaRule{.n_head_k = 2, .order = order}, {f32(q), f32(k), f32(v), f32(g), f32(rate), f32(state, 4, 1), i32(at)});
  };
  CHECK(rule(HeadOrder::grouped) == std::vector<float>{1, 2, 30, 40});
  CHECK(rule(HeadOrder::tiled) == std::vector<float>{1, 20, 3, 40});
}

TEST_CASE("gated_delta_rule: five tokens at once are five tokens one by one") {
  Bench b;
  constexpr int64_t T = 5, Hk = 2, H = 4, dk = 6, dv = 3;
  const auto wave = [](int64_t n, double step, double size) {
    std::vector<float> v(static_cast<size_t>(n));
    for (size_t i = 0; i < v.size(); ++i) v[i] = static_cast<float>(size * std::sin(step * static_cast<double>(i + 1)));
    return v;
  };
  auto q = wave(T * Hk * dk, 0.7, 0.5), k = wave(T * Hk * dk, 1.1, 0.5), v = wave(T * H * dv, 1.7, 2), g = wave(T * H, 2.3, 1), rate = g;
  for (float& x : g) x = -std::abs(x);
  for (float& x : rate) x = std::abs(x);
  std::vector<float> state(static_cast<size_t>(H * dv * dk), 5), together = state;
  const GatedDeltaRule op{.n_head_k = Hk, .scale = 0.4f};
  std::vector<int32_t> at{0, 1, 2, 3, 4};
  const auto out = b.run(op, {f32(q, T), f32(k, T), f32(v, T), f32(g, T), f32(rate, T), f32(together, H, dv), i32(at)});
  std::vector<float> singly;
  for (int64_t t = 0; t < T; ++t) {
    const auto token = [&](std::vector<float>& all) {
      return TensorView{matrix(DType::f32, 1, static_cast<int64_t>(all.size()) / T), &all[all.size() / T * static_cast<size_t>(t)]};
    };
    std::vector<int32_t> position{static_cast<int32_t>(t)};
    const auto o = b.run(op, {token(q), token(k), token(v), token(g), token(rate), f32(state, H, dv), i32(position)});
    singly.insert(singly.end(), o.begin(), o.end());
  }
  // One by one the state is rounded to f32 between tokens.
  close(out, {singly.begin(), singly.end()}, 1e-5);
  close(together, {state.begin(), state.end()}, 1e-5);
}

TEST_CASE("convert: f16 and bf16 to nearest even") {
  Bench b;
  std::vector<float> x{1, 1 + 0x1p-11f, 1 + 3 * 0x1p-11f, -65520};
  const auto half = b.bytes(Convert{DType::f16}, {f32(x)});
  std::vector<uint16_t> got(4);
  std::memcpy(got.data(), half.data(), 8);
  CHECK(got == std::vector<uint16_t>{0x3C00, 0x3C00, 0x3C02, 0xFC00});
  std::vector<float> y{1, 1 + 0x1p-8f, 1 + 3 * 0x1p-8f, -3e38f};
  const auto brain = b.bytes(Convert{DType::bf16}, {f32(y)});
  std::memcpy(got.data(), brain.data(), 8);
  CHECK(got == std::vector<uint16_t>{0x3F80, 0x3F80, 0x3F82, 0xFF62});
}

TEST_CASE("cost: flops and bytes by hand") {
  const Cost m = cost(problem(MatMul{}, {matrix(DType::f32, 2, 256), matrix(DType::q4_k, 10, 256)}));
  CHECK(m.flops == 2 * 2 * 10 * 256);
  CHECK(m.bytes == 2 * 256 * 4 + 10 * 144 + 2 * 10 * 4);
  const TensorDesc state{DType::f16, {1, 2, 100, 64}};
  const auto attention = [&](int64_t T, int window, int64_t depth) {
    return cost(problem(Attention{.n_head = 6, .window = window}, {matrix(DType::f32, T, 384), state, state, vector_of(DType::i32, T)}), depth);
  };
  CHECK(attention(1, 0, 9).flops == 6 * 10 * (4 * 64 + 4));
  CHECK(attention(1, 0, 9).bytes == 384 * 4 * 2 + 4 + 2 * 2 * 10 * 128);
  CHECK(attention(3, 0, 0).flops == 6 * (1 + 2 + 3) * 260);
  CHECK(attention(2, 4, 9).flops == 6 * (4 + 4) * 260);
  CHECK(attention(2, 4, 9).bytes == 2 * 384 * 4 * 2 + 8 + 2 * 2 * 5 * 128);  // keys 6 .. 10
  CHECK(cost(problem(Rows{}, {matrix(DType::q8_0, 1000, 64), vector_of(DType::i32, 3)})).bytes == 3 * 68 + 12 + 3 * 64 * 4);
  // One token reads the matrices of the U experts it goes to, whatever 1 - (1 - U/X) rounds to.
  for (const int64_t X : {8, 60, 128, 256})
    for (const int64_t U : {1, 3, 4, 6, 8}) {
      const TensorDesc w{DType::q4_k, {1, X, 32, 256}}, ids = matrix(DType::i32, 1, U);
      const int64_t expert = 32 * 144, x = 256 * 4;
      CHECK(cost(problem(ExpertMatMul{}, {matrix(DType::f32, 1, 256), w, ids})).bytes == x + U * expert + U * 4 + U * 32 * 4);
      CHECK(cost(problem(ExpertSwiGlu{}, {matrix(DType::f32, 1, 256), w, w, ids})).bytes == x + 2 * U * expert + U * 4 + U * 32 * 4);
      const Cost summed = cost(problem(ExpertMatMulSum{}, {matrix(DType::f32, U, 256), w, ids, matrix(DType::f32, 1, U)}));
      CHECK(summed.bytes == U * x + U * expert + 2 * U * 4 + 32 * 4);
      CHECK(summed.flops == 2 * U * 32 * 256 + 2 * U * 32);
    }
  Cost sum = m;
  sum += m;
  CHECK(sum.flops == 2 * m.flops);
}

}  // namespace
}  // namespace kerf
