#include "experiments/kernel_data.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <numbers>
#include <numeric>

#include "core/error.h"
#include "core/half.h"
#include "quant/bf16_t16.h"
#include "quant/formats.h"
#include "quant/q15_t16.h"
#include "quant/q8_g16.h"

namespace kerf {
namespace {

constexpr float kNan = std::numeric_limits<float>::quiet_NaN(), kInfinity = std::numeric_limits<float>::infinity();

template <class T>
void put(std::byte* at, T value) {
  std::memcpy(at, &value, sizeof value);
}

/// A row of floats. `limit` is the largest outlier; `specials` allows NaN and infinity.
struct RowMaker {
  DataKind kind;
  float limit = 1e4f;
  bool specials = true;

  void fill(Random& random, float* row, int64_t n) const {
    const int64_t style = kind == DataKind::adversarial ? random.below(9) : 0;
    for (int64_t i = 0; i < n; ++i) row[i] = kind == DataKind::exact ? static_cast<float>(random.below(5) - 2) : static_cast<float>(random.normal());
    if (kind != DataKind::adversarial) return;
    const int64_t place = random.below(n);
    switch (style) {
      case 0:  // outliers
        for (int64_t i = 0; i < n; ++i)
          if (random.below(32) == 0) row[i] *= limit;
        break;
      case 1:  // cancellation: large neighbours of opposite sign
        for (int64_t i = 1; i < n; i += 2) row[i] = -(row[i - 1] = static_cast<float>(row[i - 1] * limit));
        break;
      case 2:
        std::fill(row, row + n, row[0]);
        break;  // constant
      case 3:   // subnormal in f32, and in f16
        for (int64_t i = 0; i < n; ++i) row[i] *= i % 2 ? 1e-41f : 3e-7f;
        break;
      case 4:  // zeros of both signs
        for (int64_t i = 0; i < n; ++i) row[i] = i % 3 ? -0.f : 0.f;
        break;
      case 5:  // both sides of f16's largest value, and ties
        for (int64_t i = 0; i < n; ++i)
          row[i] = std::copysign(limit < 65504 ? limit : i % 3 == 0 ? 65519.99f : i % 3 == 1 ? 65520.f : 2049.f, row[i]);
        break;
      case 6:
        row[place] = specials ? kNan : limit;
        break;
      case 7:
        row[place] = specials ? -kInfinity : -limit;
        break;
      default:
        break;
    }
  }
};

/// Where the binary16 scales of a block are (ggml-common.h's structs). Formats without one are handled in fill_blocks.
std::vector<int> half_scales(DType t) {
  switch (t) {
    case DType::q4_0:
    case DType::q5_0:
    case DType::q8_0:
    case DType::iq4_nl:
    case DType::q1_0:
    case DType::q2_0:
      return {0};
    case DType::iq2_xxs:
    case DType::iq2_xs:
    case DType::iq2_s:
    case DType::iq3_xxs:
    case DType::iq3_s:
    case DType::iq1_s:
    case DType::iq4_xs:
      return {0};
    case DType::q4_1:
    case DType::q5_1:
    case DType::q4_k:
    case DType::q5_k:
      return {0, 2};
    case DType::q2_k:
      return {80, 82};
    case DType::q3_k:
      return {108};
    case DType::q6_k:
      return {208};
    case DType::tq1_0:
      return {52};
    case DType::tq2_0:
      return {64};
    default:
      return {};
  }
}

uint16_t random_scale(Random& random, DataKind kind) {
  if (kind == DataKind::exact) return float_to_half(std::ldexp(random.below(2) ? 1.f : -1.f, static_cast<int>(random.below(2)) - 1));
  if (kind == DataKind::normal) return float_to_half(static_cast<float>(0.002 + 0.05 * random.uniform()));
  constexpr uint16_t kEdges[] = {0x0000, 0x8000, 0x0001, 0x03FF, 0x0400,
                                 0x7BFF, 0xFBFF, 0x3C00, 0xBC00, 0x2000};  // zeros, subnormals, +-65504, +-1, 2^-7
  return kEdges[random.below(std::size(kEdges))];
}

/// Every code is a valid code in these formats, so the bytes are random; only scales need care.
void fill_blocks(Random& random, DType t, DataKind kind, std::byte* bytes, int64_t blocks) {
  const int64_t size = info(t).block_bytes;
  for (int64_t b = 0; b < blocks; ++b, bytes += size) {
    for (int64_t i = 0; i < size; ++i) bytes[i] = static_cast<std::byte>(random.bits() >> 32);
    for (const int offset : half_scales(t)) put(bytes + offset, random_scale(random, kind));
    if (t == DType::iq1_m) {  // its binary16 scale is spread over the top nibbles of four 16-bit words
      const uint16_t d = random_scale(random, kind);
      for (int i = 0; i < 4; ++i) {
        auto& high = bytes[48 + 2 * i + 1];
        high = (high & std::byte{0x0F}) | static_cast<std::byte>((d >> (4 * i) & 0xF) << 4);
      }
    }
    if (t == DType::mxfp4) bytes[0] = static_cast<std::byte>(kind == DataKind::adversarial ? random.below(2) ? 127 : 180 : 126 + random.below(3));
    if (t == DType::nvfp4)
      for (int i = 0; i < 4; ++i)
        bytes[i] =
            static_cast<std::byte>(kind == DataKind::exact ? 0x30 + 8 * random.below(3) : random.below(kind == DataKind::normal ? 0x40 : 0x7F));
  }
}

/// A row of q8_g16 is encoded from floats, or for exact data put together from small codes and power-of-two scales.
void fill_q8_g16(Random& random, const RowMaker& maker, std::byte* row, int64_t K) {
  std::vector<float> values(static_cast<size_t>(K));
  maker.fill(random, values.data(), K);
  quant::Q8_G16::encode_row(values.data(), K, row);
  if (maker.kind != DataKind::exact) return;
  for (int64_t g = 0; g < K / quant::Q8_G16::kGroup; ++g) {
    float sum = 0;
    for (int64_t i = g * quant::Q8_G16::kGroup; i < (g + 1) * quant::Q8_G16::kGroup; ++i) {
      row[i] = static_cast<std::byte>(static_cast<int8_t>(values[i]));
      sum += values[i];
    }
    put(row + K + 4 * g, std::ldexp(1.f, static_cast<int>(random.below(2)) - 1));
    put(row + K + K / 4 + 4 * g, sum);
  }
}

/// Rows of q15_t16 are encoded from floats. For exact data they are put together from small codes, so that both bytes of a
/// code count, and steps of a group that are not what encoding would choose.
std::vector<std::byte> q15_values(Random random, const TensorDesc& d, const RowMaker& maker) {
  using quant::Q15_T16;
  const int64_t K = d.cols();
  std::vector<std::byte> bytes(static_cast<size_t>(d.bytes()));
  std::vector<float> row(static_cast<size_t>(K));
  Q15_T16::Code codes[Q15_T16::kGroup];
  for (int64_t r = 0; r < d.rows(); ++r) {
    maker.fill(random, row.data(), K);
    for (int64_t first = 0; first < K; first += Q15_T16::kGroup) {
      const int64_t n = std::min(Q15_T16::kGroup, K - first);
      float step = Q15_T16::encode_group(row.data() + first, n, codes);
      if (maker.kind == DataKind::exact) {
        step = std::ldexp(1.f, static_cast<int>(random.below(2)) - 1);
        for (int64_t i = 0; i < n; ++i)
          codes[i] = {static_cast<int8_t>(random.below(5) - 2), static_cast<int8_t>(row[static_cast<size_t>(first + i)])};
      }
      for (int64_t i = 0; i < n; ++i) {
        std::byte* at = bytes.data() + Q15_T16::code_at(r, first + i, K);
        put(at, codes[i].hi), put(at + Q15_T16::kTileBytes, codes[i].lo);
        put(bytes.data() + Q15_T16::step_at(r, first + i, K), step);
      }
    }
  }
  return bytes;
}

std::vector<std::byte> values(Random random, const TensorDesc& d, const RowMaker& maker);

/// Formats that store rows in tiles: made row by row, then put into tiles.
std::vector<std::byte> tiled_values(Random random, const TensorDesc& d, const RowMaker& maker) {
  if (d.dtype == DType::q15_t16) return q15_values(random, d, maker);
  std::vector<std::byte> bytes(static_cast<size_t>(d.bytes()));
  if (d.dtype == DType::bf16_t16) {
    const auto rows = values(random, {DType::bf16, d.shape}, maker);
    for (int64_t r = 0; r < d.rows(); ++r)
      for (int64_t k = 0; k < d.cols(); ++k)
        std::memcpy(bytes.data() + 2 * quant::BF16_T16::index(r, k, d.cols()), rows.data() + 2 * (r * d.cols() + k), 2);
    return bytes;
  }
  for (const auto& row : kDTypes)
    if (interleaved(row.dtype) == d.dtype) quant::interleave({row.dtype, d.shape}, values(random, {row.dtype, d.shape}, maker).data(), bytes.data());
  return bytes;
}

std::vector<std::byte> values(Random random, const TensorDesc& d, const RowMaker& maker) {
  if (info(d.dtype).tile_rows > 1) return tiled_values(random, d, maker);
  std::vector<std::byte> bytes(static_cast<size_t>(d.bytes()));
  std::vector<float> row(static_cast<size_t>(d.cols()));
  for (int64_t r = 0; r < d.rows(); ++r) {
    std::byte* at = bytes.data() + r * d.row_bytes();
    if (d.dtype == DType::q8_g16)
      fill_q8_g16(random, maker, at, d.cols());
    else if (info(d.dtype).block_values > 1)
      fill_blocks(random, d.dtype, maker.kind, at, d.cols() / info(d.dtype).block_values);
    else {
      maker.fill(random, row.data(), d.cols());
      for (int64_t i = 0; i < d.cols(); ++i) {
        if (d.dtype == DType::f32)
          put(at + 4 * i, row[i]);
        else if (d.dtype == DType::f16)
          put(at + 2 * i, float_to_half(row[i]));
        else if (d.dtype == DType::bf16)
          put(at + 2 * i, float_to_bf16(row[i]));
        else
          KERF_CHECK(false, "no test data for " + std::string(name_of(d.dtype)));
      }
    }
  }
  return bytes;
}

std::vector<std::byte> integers(const std::vector<int32_t>& v) {
  std::vector<std::byte> bytes(4 * v.size());
  std::memcpy(bytes.data(), v.data(), bytes.size());
  return bytes;
}

/// Positions of T tokens below `limit`: consecutive, or for an odd draw shuffled (a batch need not be in order).
std::vector<int32_t> positions(Random& random, int64_t T, int64_t limit, int64_t depth) {
  std::vector<int32_t> p(static_cast<size_t>(T));
  std::iota(p.begin(), p.end(), static_cast<int32_t>(depth >= 0 ? depth : random.below(limit - T + 1)));
  if (depth < 0 && random.below(3) == 0)
    for (size_t i = p.size(); i > 1; --i) std::swap(p[i - 1], p[static_cast<size_t>(random.below(static_cast<int64_t>(i)))]);
  return p;
}

/// One overload per op: which of its inputs are values, indices or state.
struct MakeInputs {
  const Problem& p;
  DataKind kind;
  uint64_t seed;
  int64_t depth;

  KernelInputs plain(RowMaker maker) const {
    KernelInputs in;
    for (size_t i = 0; i < p.in.size(); ++i) in.bytes.push_back(values(Random(seed, i), p.in[i], maker));
    return in;
  }
  KernelInputs plain() const { return plain({kind}); }

  KernelInputs operator()(const Rows&) const {
    Random random(seed, 9);
    std::vector<int32_t> ids(static_cast<size_t>(p.in[1].cols()));
    for (auto& id : ids) id = static_cast<int32_t>(random.below(p.in[0].rows()));
    return {{values(Random(seed, 0), p.in[0], {kind}), integers(ids)}, {}};
  }
  KernelInputs operator()(const MatMul&) const { return plain(); }
  KernelInputs operator()(const Add&) const { return plain(); }
  KernelInputs operator()(const RmsNorm&) const { return plain(); }
  KernelInputs operator()(const SwiGlu&) const { return plain({kind, 100}); }
  KernelInputs operator()(const Convert&) const { return plain({kind, 1e5f}); }
  KernelInputs operator()(const MatMuls&) const { return plain(); }
  KernelInputs operator()(const MatMulSwiGlu&) const { return plain({kind, 100, false}); }
  KernelInputs operator()(const RopeCache& c) const {
    const KernelInputs q = make_inputs(problem(c.rope, {p.in[0], p.in[3]}), kind, seed, depth);
    const KernelInputs v = make_inputs(problem(KvWrite{}, {p.in[5], p.in[2], p.in[6]}), kind, seed + 1, depth);
    return {{q.bytes[0], values(Random(seed, 3), p.in[1], {kind, 1e4f, false}), v.bytes[1], q.bytes[1],
             values(Random(seed, 4), p.in[4], {DataKind::normal}), v.bytes[0], v.bytes[2]},
            {}};
  }
  KernelInputs operator()(const Columns&) const { return plain(); }
  KernelInputs operator()(const SigmoidGate&) const { return plain({kind, 100}); }
  KernelInputs operator()(const Router&) const { return plain({kind, 80, false}); }
  KernelInputs operator()(const L2Norm&) const { return plain(); }
  KernelInputs operator()(const GatedRmsNorm&) const { return plain({kind, 100}); }
  /// Rows whose largest value is anywhere, exact ones up to eight times, and -0 beside 0 where that is it; adversarial ones also with
  /// what is not finite, anywhere and several times.
  KernelInputs operator()(const Argmax&) const {
    KernelInputs in = plain();
    Random random(seed, 9);
    const int64_t V = p.in[0].cols();
    const auto set = [&](int64_t row, float value, int64_t most) {
      for (int64_t n = 1 + random.below(most); n > 0; --n) put(in.bytes[0].data() + 4 * (row * V + random.below(V)), value);
    };
    for (int64_t t = 0; t < p.in[0].rows(); ++t) {
      if (kind == DataKind::exact) {
        const bool zeros = random.below(3) == 0;
        for (int64_t i = 0; i < V; ++i) put(in.bytes[0].data() + 4 * (t * V + i), -1.f - static_cast<float>(random.below(4)));
        set(t, zeros ? 0.f : 3.f, 4);
        set(t, zeros ? -0.f : 3.f, 4);
      }
      if (kind == DataKind::adversarial && random.below(2) == 0)
        for (const float bad : {kNan, kInfinity, -kInfinity})
          if (random.below(2) == 0) set(t, random.below(4) == 0 ? -bad : bad, 3);
    }
    return in;
  }
  KernelInputs operator()(const ExpertSum&) const { return plain(); }
  KernelInputs operator()(const ExpertMatMul&) const { return experts({kind}); }
  KernelInputs operator()(const ExpertSwiGlu&) const { return experts({kind, 100, false}); }
  KernelInputs operator()(const ExpertMatMulSum&) const { return experts({kind}); }
  /// Each token's experts drawn without repetition; what lies in an expert that no token is routed to must not matter.
  KernelInputs experts(RowMaker maker) const {
    const ExpertInputs e = *expert_inputs(p.op);
    const auto X = static_cast<size_t>(p.in[1].shape[1]), used = static_cast<size_t>(p.in[e.ids].cols());
    Random random(seed, 9);
    std::vector<int32_t> all(X), ids;
    std::iota(all.begin(), all.end(), 0);
    for (int64_t t = 0; t < p.in[e.ids].rows(); ++t) {
      for (size_t u = 0; u < used; ++u) std::swap(all[u], all[u + static_cast<size_t>(random.below(static_cast<int64_t>(X - u)))]);
      ids.insert(ids.end(), all.begin(), all.begin() + static_cast<std::ptrdiff_t>(used));
    }
    KernelInputs in;
    for (size_t i = 0; i < p.in.size(); ++i) in.bytes.push_back(i == e.ids ? integers(ids) : values(Random(seed, i), p.in[i], maker));
    for (size_t i = e.first; i < e.first + e.count; ++i)
      for (size_t x = 0; x < X; ++x)
        if (const size_t bytes = in.bytes[i].size() / X; std::find(ids.begin(), ids.end(), static_cast<int32_t>(x)) == ids.end())
          in.holes.push_back({i, x * bytes, bytes});
    return in;
  }
  /// Consecutive positions; from 0 on the state's old content must not matter.
  void follow(KernelInputs& in, size_t positions_input, size_t state) const {
    Random random(seed, 9);
    const int64_t T = p.in[positions_input].cols(), first = depth >= 0 ? depth : random.below(3);
    std::vector<int32_t> at(static_cast<size_t>(T));
    std::iota(at.begin(), at.end(), static_cast<int32_t>(first));
    in.bytes[positions_input] = integers(at);
    if (first == 0) in.holes.push_back({state, 0, in.bytes[state].size()});
  }
  KernelInputs operator()(const CausalConv&) const {
    KernelInputs in;
    for (size_t i = 0; i < 3; ++i) in.bytes.push_back(values(Random(seed, i), p.in[i], {kind, 100, false}));
    in.bytes.emplace_back();
    follow(in, 3, 2);
    return in;
  }
  KernelInputs operator()(const DeltaGates&) const {
    KernelInputs in = plain({kind, 100, false});
    Random random(seed, 9);
    for (size_t i = 0; i < in.bytes[2].size(); i += 4)
      put(&in.bytes[2][i], kind == DataKind::exact ? -static_cast<float>(random.below(3)) : static_cast<float>(-0.3 - 8 * random.uniform()));
    return in;
  }
  /// Keys and queries of length one, as L2Norm leaves them (else a state grows without bound). Exact: one-hot keys, no decay,
  /// rates 0 and 1. Adversarial: one direction of keys for all tokens, decay from none to e^-100, all or nothing taken.
  KernelInputs operator()(const GatedDeltaRule& d) const {
    KernelInputs in;
    for (size_t i = 0; i < 6; ++i)
      in.bytes.push_back(values(Random(seed, i), p.in[i], {i == 5 ? std::min(kind, DataKind::normal) : kind, 100, false}));
    in.bytes.emplace_back();
    follow(in, 6, 5);
    Random random(seed, 10);
    const int64_t dk = p.in[5].shape[3], rows = p.in[0].rows() * d.n_head_k;
    for (const size_t i : {size_t{0}, size_t{1}})
      for (int64_t r = 0; r < rows; ++r) {
        std::vector<float> row(static_cast<size_t>(dk));
        double squares = 0;
        for (float& v : row) {
          v = static_cast<float>(random.normal());
          squares += double(v) * v;
        }
        for (float& v : row) v = static_cast<float>(v / std::sqrt(squares));
        if (kind == DataKind::exact && i == 1) {
          std::fill(row.begin(), row.end(), 0.f);
          row[static_cast<size_t>(random.below(dk))] = random.below(2) ? 1.f : -1.f;
        }
        if (kind == DataKind::exact && i == 0) continue;  // small integers
        if (kind == DataKind::adversarial && i == 1 && r >= d.n_head_k && random.below(8) != 0)
          std::memcpy(row.data(), in.bytes[i].data() + 4 * (r - d.n_head_k) * dk, row.size() * 4);
        std::memcpy(in.bytes[i].data() + 4 * r * dk, row.data(), row.size() * 4);
      }
    for (size_t i = 0; i < in.bytes[3].size(); i += 4) {
      const double u = random.uniform();
      put(&in.bytes[3][i], kind == DataKind::exact    ? 0.f
                           : kind == DataKind::normal ? static_cast<float>(-8 * u * u * u * u)
                                                      : std::array{0.f, -1e-6f, -8.f, -100.f}[static_cast<size_t>(random.below(4))]);
      put(&in.bytes[4][i], kind == DataKind::normal ? static_cast<float>(random.uniform()) : static_cast<float>(random.below(2)));
    }
    return in;
  }
  KernelInputs operator()(const RopeTable&) const {
    Random random(seed, 9);
    KernelInputs in{{integers(positions(random, p.in[0].cols(), 131072, depth))}, {}};
    if (p.in.size() < 2) return in;
    std::vector<std::byte> factors(static_cast<size_t>(p.in[1].bytes()));  // divisors: 1 .. 32, as Llama 3.1 has
    for (size_t i = 0; i < factors.size(); i += 4) put(&factors[i], static_cast<float>(1 + 31 * random.uniform()));
    in.bytes.push_back(std::move(factors));
    return in;
  }
  KernelInputs operator()(const Rope&) const {
    KernelInputs in = plain();
    Random random(seed, 9);
    auto& table = in.bytes[1];
    const int64_t dims = p.in[1].cols();
    for (int64_t t = 0; t < p.in[1].rows(); ++t)
      for (int64_t i = 0; i < dims / 2; ++i) {
        const double angle =
            kind == DataKind::exact ? std::numbers::pi / 2 * static_cast<double>(random.below(4)) : 2 * std::numbers::pi * random.uniform();
        put(table.data() + 4 * (t * dims + i), static_cast<float>(kind == DataKind::exact ? std::round(std::cos(angle)) : std::cos(angle)));
        put(table.data() + 4 * (t * dims + dims / 2 + i),
            static_cast<float>(kind == DataKind::exact ? std::round(std::sin(angle)) : std::sin(angle)));
      }
    return in;
  }
  KernelInputs operator()(const KvWrite&) const {
    Random random(seed, 9);
    return {{values(Random(seed, 0), p.in[0], {DataKind::normal}), values(Random(seed, 1), p.in[1], {kind, 1e5f}),
             integers(positions(random, p.in[2].cols(), p.in[0].shape[2], depth))},
            {}};
  }
  KernelInputs operator()(const Attention& a) const {
    Random random(seed, 9);
    const int64_t n_kv = p.in[1].shape[1], n_ctx = p.in[1].shape[2], hd = p.in[1].shape[3];
    const auto at = positions(random, p.in[0].rows(), n_ctx, depth);
    KernelInputs in{{values(Random(seed, 0), p.in[0], {kind, 30, true}), values(Random(seed, 1), p.in[1], {kind, 30, false}),
                     values(Random(seed, 2), p.in[2], {kind, 1e4f, false}), integers(at)},
                    {}};
    const int64_t last = *std::max_element(at.begin(), at.end()), lowest = *std::min_element(at.begin(), at.end());
    const int64_t first = a.window > 0 ? std::max<int64_t>(0, lowest - a.window + 1) : 0;
    for (size_t i = 1; i <= 2; ++i)
      for (int64_t h = 0; h < n_kv; ++h) {
        const auto row = static_cast<size_t>(p.in[i].row_bytes());
        in.holes.push_back({i, static_cast<size_t>(h * n_ctx + last + 1) * row, static_cast<size_t>(n_ctx - last - 1) * row});
        in.holes.push_back({i, static_cast<size_t>(h * n_ctx) * row, static_cast<size_t>(first) * row});
      }
    // One value that is not a number, at a position that every token sees: its column is NaN for all of them.
    if (kind == DataKind::adversarial && a.window == 0 && random.below(2) == 0) {
      auto* v = in.bytes[2].data() + (random.below(n_kv) * n_ctx) * p.in[2].row_bytes();
      const int64_t d = random.below(hd);
      const DTypeInfo& format = info(p.in[2].dtype);
      if (p.in[2].dtype == DType::f32)
        put(v + 4 * d, kNan);
      else if (p.in[2].dtype == DType::bf16)
        put(v + 2 * d, float_to_bf16(kNan));
      else  // f16, or a block's scale, which every cache format has first
        put(v + d / format.block_values * format.block_bytes, float_to_half(kNan));
    }
    return in;
  }
};

}  // namespace

std::string_view name_of(DataKind kind) {
  switch (kind) {
    case DataKind::exact:
      return "exact";
    case DataKind::normal:
      return "normal";
    case DataKind::adversarial:
      return "adversarial";
  }
  return "?";
}

uint64_t Random::bits() {
  uint64_t z = state_ += 0x9E3779B97F4A7C15u;
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
  return z ^ (z >> 31);
}

double Random::normal() {  // Box & Muller 1958
  const double r = std::sqrt(-2 * std::log(1 - uniform()));
  return r * std::cos(2 * std::numbers::pi * uniform());
}

KernelInputs make_inputs(const Problem& p, DataKind kind, uint64_t seed, int64_t depth) { return std::visit(MakeInputs{p, kind, seed, depth}, p.op); }

}  // namespace kerf
