#include "experiments/kernel_gates.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "attention/reference.h"
#include "attention/spec.h"
#include "core/error.h"
#include "core/half.h"
#include "experiments/kernel_attempt.h"
#include "quant/formats.h"
#include "quant/q15_t16.h"

namespace kerf {
namespace {

bool is_bf16(const TensorDesc& d, const std::vector<std::byte>& bytes) {
  const auto values = decoded(d, bytes);
  return std::all_of(values.begin(), values.end(), [](float x) { return bf16_to_float(float_to_bf16(x)) == x; });
}

/// Roundings allowed for n accumulated terms. Random data: 4 sqrt(n), as a random walk of n roundings of at most half a unit
/// ends within sqrt(n)/3 of them, and the worst of 10^6 elements is 5 deviations out. Constant or cancelling data round the
/// same way every time: there only the bound for any order of summation holds, n (Higham 2002, 4.2).
double roundings(double n, DataKind kind) { return kind == DataKind::adversarial ? std::max(n, 4 * std::sqrt(n)) : 4 * std::sqrt(n); }

using Gates = std::vector<Gate>;

/// The gate of each output. One overload per op.
struct MakeGate {
  const Problem& p;
  const KernelInputs& in;
  const std::vector<std::vector<float>>& want;
  DataKind kind;
  const Registry& reference;
  ThreadPool& pool;
  size_t unit_values;

  template <class F>  // F(i) -> {yardstick, allowed error in ulps of it, allowed absolute error}
  Gate each(F&& f, size_t output = 0) const {
    Gate g;
    for (size_t i = 0; i < want[output].size(); ++i) {
      const auto [yardstick, ulps, absolute] = f(i);
      g.yardstick.push_back(yardstick);
      g.allowed.push_back(yardstick * ulps * kUlp + absolute);
      g.operands.push_back(2.01 * yardstick);  // of a product: (1 + unit)^2 - 1
    }
    return g;
  }
  struct Row {
    double yardstick, ulps, absolute;
  };

  Gates operator()(const Rows&) const { return {{}}; }
  Gates operator()(const Add&) const { return {{}}; }
  Gates operator()(const KvWrite&) const { return {{}}; }
  Gates operator()(const Convert&) const { return {{}}; }

  /// What is missing of a product of 15-bit numbers beyond f32's roundings, with the weights rounded as quant/q15_t16.h rounds
  /// activations: sum of x (w - w'), and of the products of the lower bytes, which such kernels leave out. Rigorous (of
  /// absolute values) for data that may conspire; for random data five deviations of a sum of independent terms.
  std::vector<double> left_out(size_t w) const {
    using quant::Q15_T16;
    const int64_t K = p.in[w].cols();
    const bool random = kind == DataKind::normal;
    const auto term = [&](double v) { return random ? v * v : std::fabs(v); };
    const auto x = decoded(p.in[0], in.bytes[0]), weights = decoded(p.in[w], in.bytes[w]);
    std::vector<double> x_terms(x.size()), x_low(x.size()), w_error(weights.size()), w_low(weights.size());
    for (size_t i = 0; i < x.size(); ++i) {
      const int64_t t = static_cast<int64_t>(i) / K, k = static_cast<int64_t>(i) % K;
      float step = 0;
      std::memcpy(&step, in.bytes[0].data() + Q15_T16::step_at(t, k, K), 4);
      x_terms[i] = term(x[i]);
      x_low[i] = term(double(step) * static_cast<int8_t>(in.bytes[0][static_cast<size_t>(Q15_T16::code_at(t, k, K) + Q15_T16::kTileBytes)]));
    }
    Q15_T16::Code codes[Q15_T16::kGroup];
    for (size_t i = 0; i < weights.size();) {
      const auto n = static_cast<size_t>(std::min(Q15_T16::kGroup, K - static_cast<int64_t>(i) % K));
      const float step = Q15_T16::encode_group(&weights[i], static_cast<int64_t>(n), codes);
      for (size_t j = 0; j < n; ++j, ++i)
        w_error[i] = term(weights[i] - double(step) * codes[j].value()), w_low[i] = term(double(step) * codes[j].lo);
    }
    const auto rows = static_cast<size_t>(p.in[w].rows()), cols = static_cast<size_t>(K);
    std::vector<double> sums(x.size() / cols * rows);
    for (size_t i = 0; i < sums.size(); ++i) {
      const size_t a = i / rows * cols, b = i % rows * cols;
      for (size_t k = 0; k < cols; ++k) sums[i] += x_terms[a + k] * w_error[b + k] + x_low[a + k] * w_low[b + k];
      if (random) sums[i] = 5 * std::sqrt(sums[i]);
    }
    return sums;
  }
  /// |x|; where scales are shared, the largest of those that share one in place of each.
  std::vector<float> magnitudes() const {
    auto x = decoded(p.in[0], in.bytes[0]);
    for (float& v : x) v = std::fabs(v);
    const auto cols = static_cast<size_t>(p.in[0].cols());
    for (size_t row = 0; row < x.size() && unit_values > 1; row += cols)
      for (size_t k = 0; k < cols; k += unit_values) {
        const auto begin = x.begin() + static_cast<ptrdiff_t>(row + k), end = begin + static_cast<ptrdiff_t>(std::min(unit_values, cols - k));
        std::fill(begin, end, *std::max_element(begin, end));
      }
    return x;
  }
  /// sum_k |x w_i| of every output of the product with input `w`: the reference once more on absolute values (Higham 2002, 3.1).
  std::vector<float> absolute_products(size_t w) const {
    KernelInputs positive;
    std::vector<TensorDesc> descs;
    for (const size_t i : {size_t{0}, w}) {
      descs.push_back({DType::f32, p.in[i].shape});
      auto values = i == 0 ? magnitudes() : decoded(p.in[i], in.bytes[i]);
      for (float& v : values) v = std::fabs(v);
      auto& bytes = positive.bytes.emplace_back(values.size() * 4);
      std::memcpy(bytes.data(), values.data(), bytes.size());
    }
    const Problem absolute = problem(MatMul{}, descs);
    return decoded(absolute.out[0], attempt(*reference.find("reference/matmul"), absolute, positive, pool, kPatterns[0]).out[0]);
  }
  /// What rounding random operands to a coarser format may add up to, in its units: K independent roundings of each operand, of
  /// at most a unit of the term, walk at random. Six deviations, were every rounding the largest there is.
  std::vector<double> walks(size_t w) const {
    const auto x = magnitudes(), weights = decoded(p.in[w], in.bytes[w]);
    const auto rows = static_cast<size_t>(p.in[w].rows()), cols = static_cast<size_t>(p.in[w].cols());
    std::vector<double> sums(x.size() / cols * rows);
    for (size_t i = 0; i < sums.size(); ++i) {
      const float *a = &x[i / rows * cols], *b = &weights[i % rows * cols];
      for (size_t k = 0; k < cols; ++k) sums[i] += double(a[k]) * a[k] * b[k] * b[k];
      sums[i] = 6 * std::sqrt(sums[i]);
    }
    return sums;
  }
  Gate product(size_t output, size_t w, const std::vector<float>* addend = nullptr) const {
    // Exact data: bits, also for kernels that round to bf16, unless weights of more than 8 bits are rounded there.
    if (kind == DataKind::exact && (p.in[0].dtype == DType::q15_t16 || is_bf16(p.in[w], in.bytes[w]))) return {};
    const auto sums = absolute_products(w);
    if (kind == DataKind::exact) return each([&](size_t i) { return Row{sums[i], 0, 0}; }, output);
    const auto lost = p.in[0].dtype == DType::q15_t16 ? left_out(w) : std::vector<double>(sums.size());
    const auto K = static_cast<double>(p.in[w].cols());
    Gate g = each(
        [&](size_t i) {
          return Row{sums[i] + (addend ? std::fabs(double((*addend)[i % addend->size()])) : 0), roundings(K, kind) + 1, K * 0x1p-149 + lost[i]};
        },
        output);
    // A step is up to 2^-13 of the largest of 512 values, three deviations: an angle of 2^-13 3 / sqrt(12) squared for each operand.
    if (p.in[0].dtype == DType::q15_t16) g.angle = 2e-8;
    if (kind == DataKind::normal && p.in[0].dtype != DType::q15_t16) {
      const auto walk = walks(w);
      for (size_t i = 0; i < walk.size(); ++i) g.operands[i] = std::min(g.operands[i], walk[i]);
    }
    return g;
  }
  Gates operator()(const MatMul&) const { return {product(0, 1)}; }
  Gates operator()(const MatMuls& m) const {
    Gates gates;
    for (size_t i = 1, n = static_cast<size_t>(m.count); i <= n; ++i) {
      const auto addend = m.add ? decoded(p.in[n + i], in.bytes[n + i]) : std::vector<float>{0};
      gates.push_back(product(i - 1, i, &addend));
    }
    return gates;
  }
  /// silu(gate) * up of two products: d silu(g) <= 1.1 dg; then the product with u, and the roundings of swiglu itself.
  Gates swiglu(const std::vector<float>& gate_sums, const std::vector<float>& up_sums, const std::vector<float>& gate,
               const std::vector<float>& up) const {
    Gate g;
    const double ulps = kind == DataKind::exact ? 1 : roundings(static_cast<double>(p.in[1].cols()), kind) + 1;
    for (size_t i = 0; i < want[0].size(); ++i) {
      const double silu = double(gate[i]) / (1 + std::exp(-double(gate[i])));
      const double yardstick = 1.1 * gate_sums[i] * std::fabs(double(up[i])) + std::fabs(silu) * up_sums[i];
      g.yardstick.push_back(yardstick);
      const double both = 1.1 * (kUlp * ulps) * (kUlp * ulps) * gate_sums[i] * up_sums[i];  // where both sums cancel, all that is left
      g.allowed.push_back(kUlp * (ulps * yardstick + 16 * std::fabs(double(want[0][i]))) + both + 0x1p-100 * (1 + std::fabs(double(up[i]))));
      g.operands.push_back(2.01 * yardstick);
      g.cross.push_back(1.1 * (2.01 * gate_sums[i]) * (2.01 * up_sums[i]));
    }
    return {g};
  }
  Gates operator()(const MatMulSwiGlu&) const {
    const auto gate_sums = absolute_products(1), up_sums = absolute_products(2);
    const auto terms = [&](size_t w) {
      const Problem q = problem(MatMul{}, {p.in[0], p.in[w]});
      return decoded(q.out[0], attempt(*reference.find("reference/matmul"), q, {{in.bytes[0], in.bytes[w]}, {}}, pool, kPatterns[0]).out[0]);
    };
    const auto gate = terms(1), up = terms(2);
    return swiglu(gate_sums, up_sums, gate, up);
  }
  Gates operator()(const RmsNorm&) const {
    const double ulps = 8 + roundings(static_cast<double>(p.in[1].cols()), kind) / 4;
    return {each([&](size_t i) { return Row{std::fabs(want[0][i]), ulps, 0x1p-140}; })};
  }
  Gates operator()(const RopeTable& r) const {
    return {each([&](size_t) { return Row{std::fabs(double(r.magnitude)), 2, 0}; })};
  }
  /// Of element i of x [T,H*hd]: what rotating it may be off by.
  Row rotated(const Rope& r, const std::vector<float>& x, int64_t dims, size_t i) const {
    const auto d = static_cast<int64_t>(i) % r.head_dim;
    if (d >= dims) return Row{std::fabs(double(x[i])), 0, 0};
    const int64_t half = dims / 2, partner = r.pairing == RopePairing::norm ? d ^ 1 : d < half ? d + half : d - half;
    return Row{std::fabs(double(x[i])) + std::fabs(double(x[i + static_cast<size_t>(partner - d)])), kind == DataKind::exact ? 0. : 2., 0x1p-148};
  }
  Gates operator()(const Rope& r) const {
    const auto x = decoded(p.in[0], in.bytes[0]);
    return {each([&](size_t i) { return rotated(r, x, p.in[1].cols(), i); })};
  }
  /// A rotated key that is off by an ulp may round to the next value of the cache's format: one step of it in addition.
  Gates operator()(const RopeCache& c) const {
    const auto q = decoded(p.in[0], in.bytes[0]), k = decoded(p.in[1], in.bytes[1]);
    const int64_t dims = p.in[3].cols(), hd = p.in[4].cols(), n_ctx = p.in[4].shape[2], n_kv = p.in[4].shape[1];
    Gate keys;
    keys.yardstick.assign(want[1].size(), 1);
    keys.allowed.assign(want[1].size(), 0);
    keys.operands.assign(want[1].size(), 0);
    const DType format = p.in[4].dtype;
    for (int64_t i = 0; kind != DataKind::exact && i < p.in[1].size(); ++i) {
      const int64_t t = i / (n_kv * hd), head = i / hd % n_kv;
      int32_t position = 0;
      std::memcpy(&position, in.bytes[6].data() + 4 * t, 4);
      const auto at = static_cast<size_t>((head * n_ctx + position) * hd + i % hd);
      const Row row = rotated(c.rope, k, dims, static_cast<size_t>(i));
      double largest = std::fabs(double(want[1][at]));
      if (const auto block = static_cast<size_t>(info(format).block_values); block > 1)
        for (size_t j = at / block * block; j < at / block * block + block; ++j) largest = std::max(largest, std::fabs(double(want[1][j])));
      // Steps: f16 has 11 bits, bf16 8; blocks of 32 share a scale of largest / 127, 15 (or twice that over 31), 7 (15).
      const double step = format == DType::f32    ? 0
                          : format == DType::f16  ? largest * 0x1p-10 + 0x1p-24
                          : format == DType::bf16 ? largest * 0x1p-7
                          : format == DType::q8_0 ? largest / 100
                                                  : largest / 6;
      keys.allowed[at] = row.yardstick * row.ulps * kUlp + row.absolute + step;
    }
    return {each([&](size_t i) { return rotated(c.rope, q, dims, i); }), kind == DataKind::exact ? Gate{} : keys, {}};
  }
  Gates operator()(const Columns&) const { return {{}}; }
  Gates operator()(const SigmoidGate&) const {
    const auto x = decoded(p.in[0], in.bytes[0]);
    return {each([&](size_t i) { return Row{std::fabs(want[0][i]), 16, 0x1p-100 * (1 + std::fabs(double(x[i])))}; })};
  }
  /// A logit's distance d to the largest is rounded before exp, which makes exp off by d units: d = log(first weight / this
  /// one). The divisor's terms are off likewise, by sum p d <= log X units together, and by its own additions.
  Gates operator()(const Router& r) const {
    const auto U = static_cast<size_t>(r.used);
    const auto X = static_cast<double>(p.in[0].cols());
    return {{},
            each(
                [&](size_t i) {
                  const double w = want[1][i], distance = w > 0 ? std::log(double(want[1][i / U * U]) / w) : 0;
                  return Row{w, 16 + distance + std::log(X) + roundings(X, kind) / 4, 0x1p-100};
                },
                1)};
  }
  Gates operator()(const Argmax&) const { return {{}}; }
  Gates operator()(const L2Norm& n) const {
    const double ulps = 8 + roundings(static_cast<double>(n.group), kind) / 4;
    return {each([&](size_t i) { return Row{std::fabs(want[0][i]), ulps, 0x1p-140}; })};
  }
  Gates operator()(const GatedRmsNorm&) const {
    const auto x = decoded(p.in[0], in.bytes[0]);
    const double ulps = 24 + roundings(static_cast<double>(p.in[1].cols()), kind) / 4;
    return {each([&](size_t i) { return Row{std::fabs(want[0][i]), ulps, 0x1p-100 * (1 + 1e4 * std::fabs(double(x[i])))}; })};
  }
  Gates operator()(const ExpertSum&) const {
    const auto y = decoded(p.in[0], in.bytes[0]), weights = decoded(p.in[1], in.bytes[1]);
    const auto U = static_cast<size_t>(p.in[1].cols()), E = static_cast<size_t>(p.in[0].cols());
    return {each([&](size_t i) {
      double sum = 0;
      for (size_t s = i / E * U; s < (i / E + 1) * U; ++s) sum += std::fabs(double(weights[s]) * y[s * E + i % E]);
      return Row{sum, kind == DataKind::exact ? 0. : roundings(static_cast<double>(U), kind) + 1, 0x1p-146};
    })};
  }
  /// expert_matmul on f(x) and f(w) in f32: absolute values give sum |x w| of each output, squares what a random walk may be.
  template <class F>
  std::vector<float> expert_products(size_t w, F&& f) const {
    const size_t ids = expert_inputs(p.op)->ids;
    KernelInputs changed;
    std::vector<TensorDesc> descs;
    for (const size_t i : {size_t{0}, w}) {
      descs.push_back({DType::f32, p.in[i].shape});
      auto v = decoded(p.in[i], in.bytes[i]);
      for (float& x : v) x = f(x);
      auto& bytes = changed.bytes.emplace_back(v.size() * 4);
      std::memcpy(bytes.data(), v.data(), bytes.size());
    }
    descs.push_back(p.in[ids]);
    changed.bytes.push_back(in.bytes[ids]);
    const Problem q = problem(ExpertMatMul{}, descs);
    return decoded(q.out[0], attempt(*reference.find("reference/expert_matmul"), q, changed, pool, kPatterns[0]).out[0]);
  }
  /// What a kernel may be off by where it rounds operands to a coarser format, in its units.
  std::vector<double> expert_walks(size_t w, const std::vector<float>& sums) const {
    std::vector<double> walks;
    const auto squares = kind == DataKind::normal ? expert_products(w, [](float x) { return x * x; }) : std::vector<float>{};
    for (size_t i = 0; i < sums.size(); ++i)
      walks.push_back(kind == DataKind::normal ? std::min(2.01 * sums[i], 6 * std::sqrt(double(squares[i]))) : 2.01 * sums[i]);
    return walks;
  }
  static float magnitude(float x) { return std::fabs(x); }
  static float same(float x) { return x; }

  Gates operator()(const ExpertMatMul&) const {
    if (kind == DataKind::exact && is_bf16(p.in[1], in.bytes[1])) return {{}};
    const auto sums = expert_products(1, magnitude);
    const auto K = static_cast<double>(p.in[1].cols());
    Gate g = each([&](size_t i) { return Row{sums[i], kind == DataKind::exact ? 0. : roundings(K, kind) + 1, K * 0x1p-149}; });
    g.operands = expert_walks(1, sums);
    return {g};
  }
  Gates operator()(const ExpertSwiGlu&) const {
    const auto gate_sums = expert_products(1, magnitude), up_sums = expert_products(2, magnitude);
    const auto gate = expert_products(1, same), up = expert_products(2, same);
    return swiglu(gate_sums, up_sums, gate, up);
  }
  Gates operator()(const ExpertMatMulSum&) const {
    if (kind == DataKind::exact && is_bf16(p.in[1], in.bytes[1])) return {{}};
    const auto sums = expert_products(1, magnitude);
    const auto walks = expert_walks(1, sums);
    const auto weights = decoded(p.in[3], in.bytes[3]);
    const auto U = static_cast<size_t>(p.in[3].cols()), N = static_cast<size_t>(p.out[0].cols());
    const auto over_slots = [&](const auto& v, size_t i) {
      double sum = 0;
      for (size_t s = i / N * U; s < (i / N + 1) * U; ++s) sum += std::fabs(double(weights[s])) * v[s * N + i % N];
      return sum;
    };
    const auto K = static_cast<double>(p.in[1].cols());
    Gate g = each([&](size_t i) {
      return Row{over_slots(sums, i), kind == DataKind::exact ? 0. : roundings(K, kind) + roundings(static_cast<double>(U), kind) + 2, K * 0x1p-140};
    });
    for (size_t i = 0; i < g.operands.size(); ++i) g.operands[i] = over_slots(walks, i);
    return {g};
  }
  /// d silu(s) <= 1.1 ds, s a sum of J products. The new state is copied values.
  Gates operator()(const CausalConv& c) const {
    const auto x = decoded(p.in[0], in.bytes[0]), w = decoded(p.in[1], in.bytes[1]), state = decoded(p.in[2], in.bytes[2]);
    const auto C = static_cast<size_t>(p.in[0].cols()), J = static_cast<size_t>(p.in[1].cols()), keys = static_cast<size_t>(c.keys);
    int32_t first = 0;
    std::memcpy(&first, in.bytes[3].data(), 4);
    const auto gate = [&](size_t output, size_t begin, size_t width) {
      return each(
          [&](size_t i) {
            const size_t t = i / width, ch = begin + i % width;
            double sum = 0;
            for (size_t j = 0; j < J; ++j) {
              const size_t row = t + j;  // of the state, then of the batch
              const double v = row >= J - 1 ? x[(row - (J - 1)) * C + ch] : first == 0 ? 0.f : state[row * C + ch];
              sum += std::fabs(w[ch * J + j] * v);
            }
            const double ulps = (kind == DataKind::exact ? 0 : roundings(static_cast<double>(J), kind)) + 16;
            return Row{std::max(1.1 * sum, std::fabs(double(want[output][i]))), ulps, 0x1p-100};
          },
          output);
    };
    return {gate(0, 0, keys), gate(1, keys, keys), gate(2, 2 * keys, C - 2 * keys), {}};
  }
  /// exp(x) for a rounded sum x = alpha + dt_bias is off by as many ulps as the sum's terms are large.
  Gates operator()(const DeltaGates&) const {
    const auto alpha = decoded(p.in[0], in.bytes[0]), dt = decoded(p.in[1], in.bytes[1]), a = decoded(p.in[2], in.bytes[2]);
    return {each([&](size_t i) {
              const double terms = std::fabs(double(alpha[i])) + std::fabs(double(dt[i % dt.size()]));
              const double rate = std::fabs(double(a[i % a.size()]));
              return Row{std::max(std::fabs(double(want[0][i])), 0x1p-100), 16 + 2 * terms, kUlp * rate * terms + 0x1p-100 * (1 + rate)};
            }),
            each(
                [&](size_t i) {
                  return Row{std::fabs(want[1][i]), 16, 0x1p-100};
                },
                1)};
  }
  /// An error e of a row of a state is carried along by S (I - b k k^T) exp(g), which does not make it longer; each step adds the
  /// roundings of two products with the key and of one update. Norms of rows bound both; serial and chunked forms alike.
  Gates operator()(const GatedDeltaRule& d) const {
    const auto q = decoded(p.in[0], in.bytes[0]), k = decoded(p.in[1], in.bytes[1]), v = decoded(p.in[2], in.bytes[2]);
    const auto g = decoded(p.in[3], in.bytes[3]), b = decoded(p.in[4], in.bytes[4]), state = decoded(p.in[5], in.bytes[5]);
    const int64_t T = p.in[0].rows(), H = p.in[5].shape[1], dv = p.in[5].shape[2], dk = p.in[5].shape[3], Kk = p.in[0].cols();
    int32_t first = 0;
    std::memcpy(&first, in.bytes[6].data(), 4);
    Gate out, end;
    for (Gate* gate : {&out, &end}) {
      const size_t n = gate == &out ? want[0].size() : want[1].size();
      gate->yardstick.resize(n), gate->allowed.resize(n), gate->operands.resize(n);
    }
    if (kind == DataKind::exact) return {{}, {}};
    const double per_step = roundings(static_cast<double>(dk), kind) + 8;
    std::vector<double> S(static_cast<size_t>(dk));
    for (int64_t row = 0; row < H * dv; ++row) {
      const int64_t h = row / dv, from = (d.order == HeadOrder::tiled ? h % d.n_head_k : h / (H / d.n_head_k)) * dk;
      for (int64_t i = 0; i < dk; ++i) S[static_cast<size_t>(i)] = first == 0 ? 0 : double(state[static_cast<size_t>(row * dk + i)]);
      const auto norm = [&] {
        double squares = 0;
        for (const double s : S) squares += s * s;
        return std::sqrt(squares);
      };
      double error = 0;  // in units of 2^-24
      for (int64_t t = 0; t < T; ++t) {
        const auto at = static_cast<size_t>(t * H + h);
        const double decay = std::exp(double(g[at])), before = norm(), value = std::fabs(double(v[static_cast<size_t>(t * H * dv + row)]));
        double held = 0, q2 = 0;
        for (int64_t i = 0; i < dk; ++i) held += (S[static_cast<size_t>(i)] *= decay) * k[static_cast<size_t>(t * Kk + from + i)];
        const double change = b[at] * (v[static_cast<size_t>(t * H * dv + row)] - held);
        for (int64_t i = 0; i < dk; ++i) {
          const double qi = q[static_cast<size_t>(t * Kk + from + i)];
          S[static_cast<size_t>(i)] += change * k[static_cast<size_t>(t * Kk + from + i)];
          q2 += qi * qi;
        }
        error = decay * error + per_step * (decay * before + value);  // exp(g) itself is off by 4 and |g| units
        error += decay * before * std::fabs(double(g[at]));
        const double scale = d.scale * std::sqrt(q2), most = norm();
        const auto o = static_cast<size_t>(t * H * dv + row);
        out.yardstick[o] = scale * (most + error / per_step + 0x1p-60);
        out.allowed[o] = kUlp * scale * (error + per_step * most) + 0x1p-120;
        out.operands[o] = scale * (error + per_step * most);
      }
      for (int64_t i = 0; i < dk; ++i) {
        const auto e = static_cast<size_t>(row * dk + i);
        end.yardstick[e] = norm() + error / per_step + 0x1p-60;
        end.allowed[e] = kUlp * (error + 2 * norm()) + 0x1p-120;
        end.operands[e] = error + 2 * norm();
      }
    }
    return {out, end};
  }
  Gates operator()(const SwiGlu&) const {  // exp overflows in f32 where silu is 0 to 30 digits: the absolute part
    const auto up = decoded(p.in[1], in.bytes[1]);
    return {each([&](size_t i) { return Row{std::fabs(want[0][i]), 16, 0x1p-100 * (1 + std::fabs(double(up[i])))}; })};
  }
  Gates operator()(const Attention& a) const {
    const auto doubles = [&](size_t i) {
      const auto floats = decoded(p.in[i], in.bytes[i]);
      return std::vector<double>(floats.begin(), floats.end());
    };
    const auto q = doubles(0), k = doubles(1), v = doubles(2);
    const int64_t n_kv = p.in[1].shape[1], n_ctx = p.in[1].shape[2], hd = p.in[1].shape[3];
    const auto rows_of = [hd](const std::vector<double>& from, int64_t first, int64_t rows) {
      return std::span(from).subspan(static_cast<size_t>(first * hd), static_cast<size_t>(rows * hd));
    };
    Gate g;
    std::vector<double> bound(static_cast<size_t>(hd));
    for (int64_t row = 0; row < p.in[0].rows() * a.n_head; ++row) {
      int32_t position = 0;
      std::memcpy(&position, in.bytes[3].data() + 4 * (row / a.n_head), 4);
      const auto keys = attention::visible_keys(position, a.window);
      const int64_t first = attention::kv_head(row % a.n_head, a.n_head, n_kv) * n_ctx + keys.begin, n = keys.end - keys.begin;
      const auto values = rows_of(v, first, n);
      const double score = attention::condition(rows_of(q, row, 1), rows_of(k, first, n), values, a.scale, bound);
      double largest = 0;  // exp may flush weights below 2^-126 of the largest to 0
      for (const double x : values) largest = std::max(largest, std::fabs(x));
      for (size_t d = 0; d < bound.size(); ++d) {
        const double b = bound[d];
        g.yardstick.push_back(b);
        g.allowed.push_back(b * kUlp * (roundings(static_cast<double>(hd + n), kind) + 8) + largest * static_cast<double>(n) * 0x1p-125);
        // Rounded operands: q and k put a score off by 2 units of `score`, the weights by twice that once they are normalised,
        // exp(4 * 2^-8 * 32) - 1 = 5.2/4 of which in bf16 up to scores of 32. Above, no first-order bound holds: the weights may
        // be anything, and the output is only known to be among the values. Subnormals may count as 0.
        double span = 0;
        if (score > 32)
          for (size_t i = d; i < values.size(); i += bound.size()) span = std::max(span, std::fabs(values[i]));
        g.operands.push_back(5.3 * b + 2 * span * 0x1p8 + static_cast<double>(n) * 0x1p-116);
      }
    }
    return {g};
  }
};

}  // namespace

std::vector<Gate> make_gates(const Problem& p, const KernelInputs& in, const std::vector<std::vector<float>>& want, DataKind kind,
                             const Registry& reference, ThreadPool& pool, int unit_values) {
  KERF_CHECK(
      unit_values == 1 || std::holds_alternative<MatMul>(p.op) || std::holds_alternative<MatMuls>(p.op) || std::holds_alternative<MatMulSwiGlu>(p.op),
      "no limit is derived for scales that activations of this op share");
  return std::visit(MakeGate{p, in, want, kind, reference, pool, static_cast<size_t>(unit_values)}, p.op);
}

}  // namespace kerf
