// The reference is the truth for all other kernels, so it is held against values worked out by hand and closed forms.
#include <cmath>
#include <cstring>
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

  std::vector<std::byte> bytes(const Op& op, std::vector<TensorView> in) {
    std::vector<TensorDesc> descs;
    for (const auto& v : in) descs.push_back(v.desc);
    const Problem p = problem(op, descs);
    const Kernel* k = registry.find("reference/" + std::string(name_of(op)));
    REQUIRE(k);
    REQUIRE(k->accepts(p).why_not == "");
    std::vector<std::byte> out(static_cast<size_t>(p.out[0].bytes()));
    TensorView result{p.out[0], out.data()};
    if (std::holds_alternative<KvWrite>(op)) result.data = in[0].data;
    k->run(p, {in, {&result, 1}, {}, pool});
    return out;
  }
  std::vector<float> run(const Op& op, std::vector<TensorView> in) {
    const auto out = bytes(op, std::move(in));
    std::vector<float> values(out.size() / 4);
    std::memcpy(values.data(), out.data(), out.size());
    return values;
  }
};

template <class T>
TensorView view(DType type, std::vector<T>& v, int64_t rows = 1) {
  return {matrix(type, rows, static_cast<int64_t>(v.size()) / rows), v.data()};
}
TensorView f32(std::vector<float>& v, int64_t rows = 1) { return view(DType::f32, v, rows); }
TensorView i32(std::vector<int32_t>& v) { return view(DType::i32, v); }

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
  Cost sum = m;
  sum += m;
  CHECK(sum.flops == 2 * m.flops);
}

}  // namespace
}  // namespace kerf
