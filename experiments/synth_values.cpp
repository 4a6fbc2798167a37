#include "experiments/synth_values.h"

#include <cmath>
#include <cstring>
#include <numbers>

#include "core/error.h"
#include "core/half.h"
#include "quant/formats.h"

namespace kerf {
namespace {

/// splitmix64's output function (Steele, Lea, Flood 2014): neighbouring counters give unrelated words.
constexpr uint64_t scramble(uint64_t z) {
  z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9u;
  z = (z ^ z >> 27) * 0x94D049BB133111EBu;
  return z ^ z >> 31;
}

struct Words {
  uint64_t key;
  constexpr uint64_t operator[](uint64_t i) const { return scramble(key + i * 0x9E3779B97F4A7C15u); }
};

uint64_t key_of(uint64_t seed, std::string_view name) {
  uint64_t hash = 0xCBF29CE484222325u;  // FNV-1a
  for (const char c : name) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001B3u;
  return scramble(scramble(seed) ^ hash);
}

double uniform(uint64_t word) { return static_cast<double>(word >> 11) * 0x1p-53; }

/// Sum of the four low bytes: mean 510, within 1 % of a normal distribution up to two standard deviations (Irwin-Hall).
constexpr uint32_t byte_sum(uint64_t word) {
  const uint64_t pairs = (word & 0x00FF00FF) + (word >> 8 & 0x00FF00FF);
  return static_cast<uint32_t>((pairs + (pairs >> 16)) & 0xFFFF);
}
constexpr double kByteSumMean = 510;
const double kByteSumStd = std::sqrt(4 * (256.0 * 256 - 1) / 12);
double bell(uint32_t sum) { return (sum - kByteSumMean) / kByteSumStd; }

/// Root mean square of the integers low..high.
double rms(int low, int high) {
  double sum = 0;
  for (int i = low; i <= high; ++i) sum += i * i;
  return std::sqrt(sum / (high - low + 1));
}
/// Of codes 0..n-1 around the middle between them, where formats with a minimum put 0.
double rms_around_middle(int n) { return std::sqrt((n * n - 1) / 12.0); }

/// Of the levels of IQ4_NL.
double rms_of_levels() {
  double sum = 0;
  for (const int code : quant::kLevelCodes) sum += (code - quant::IQ4_NL::kOffset) * (code - quant::IQ4_NL::kOffset);
  return std::sqrt(sum / 16);
}
/// Of the upper half of the signed group scales of six bits.
double rms_of_six_bits() { return std::sqrt((rms(16, 31) * rms(16, 31) + rms(17, 32) * rms(17, 32)) / 2); }

/// `unit`: std of the values with d = 1; `middle`: the minimum as a multiple of the scale, 0 without one. Group scales inside a
/// block of 256 are drawn from the upper half of what fits, so that none is too small to matter.
struct Balance {
  double unit = 1, middle = 0;
};
Balance balance_of(DType type) {
  switch (type) {
    case DType::q4_0:
      return {rms(-8, 7)};
    case DType::q5_0:
      return {rms(-16, 15)};
    case DType::q8_0:
      return {rms(-128, 127)};
    case DType::q4_1:
      return {rms_around_middle(16), -7.5};
    case DType::q5_1:
      return {rms_around_middle(32), -15.5};
    case DType::q2_k:
      return {rms(8, 15) * rms_around_middle(4), 1.5};
    case DType::q3_k:
      return {rms_of_six_bits() * rms(-4, 3)};
    case DType::q4_k:
      return {rms(32, 63) * rms_around_middle(16), 7.5};
    case DType::q5_k:
      return {rms(32, 63) * rms_around_middle(32), 15.5};
    case DType::q6_k:
      return {rms(8, 15) * rms(-32, 31)};
    case DType::iq4_nl:
      return {rms_of_levels()};
    case DType::iq4_xs:
      return {rms_of_six_bits() * rms_of_levels()};
    default:
      return {};
  }
}

/// The scale of a block and the minimum that goes with it.
struct Scale {
  uint16_t d = 0, min = 0;
  bool negative = false;
  uint16_t signed_d() const { return static_cast<uint16_t>(d | (negative ? 0x8000u : 0u)); }
};

// One overload per format: what the block's random bytes must not decide.
void settle(quant::Q4_0::Block& b, const Scale& s) { b.d = s.signed_d(); }
void settle(quant::Q5_0::Block& b, const Scale& s) { b.d = s.signed_d(); }
void settle(quant::Q8_0::Block& b, const Scale& s) { b.d = s.signed_d(); }
void settle(quant::IQ4_NL::Block& b, const Scale& s) { b.d = s.signed_d(); }
void settle(quant::Q4_1::Block& b, const Scale& s) { b.d = s.d, b.m = s.min; }
void settle(quant::Q5_1::Block& b, const Scale& s) { b.d = s.d, b.m = s.min; }

void settle(quant::Q2_K::Block& b, const Scale& s) {
  for (uint8_t& scale : b.scales) scale = static_cast<uint8_t>((8 | (scale & 7)) * 0x11);  // minimum = scale
  b.d = s.d, b.dmin = s.min;
}

void settle(quant::Q3_K::Block& b, const Scale& s) {
  // The two high bits of a scale are equal: 16..31 or -32..-17.
  for (int i = 8; i < 12; ++i) b.scales[i] = static_cast<uint8_t>((b.scales[i] & 0x55) * 3);
  b.d = s.signed_d();
}

/// Scales and minima 0..3 are whole bytes but for bits 6 and 7, which belong to 4..7 (quant/k_scales.h).
void settle_k_scales(uint8_t* scales) {
  for (int i = 0; i < 4; ++i) scales[i] = scales[i + 4] = static_cast<uint8_t>((scales[i] & 0x5F) | 0xA0);
  for (int i = 8; i < 12; ++i) scales[i] = static_cast<uint8_t>((scales[i] & 15) * 0x11);
}
void settle(quant::Q4_K::Block& b, const Scale& s) {
  settle_k_scales(b.scales);
  b.d = s.d, b.dmin = s.min;
}
void settle(quant::Q5_K::Block& b, const Scale& s) {
  settle_k_scales(b.scales);
  b.d = s.d, b.dmin = s.min;
}

void settle(quant::Q6_K::Block& b, const Scale& s) {
  for (int8_t& scale : b.scales) {
    const int size = 8 | (scale & 7);  // small, so that d has digits: binary16 ends at 2^-24
    scale = static_cast<int8_t>(scale < 0 ? -size : size);
  }
  b.d = s.signed_d();
}

void settle(quant::IQ4_XS::Block& b, const Scale& s) {
  b.scales_h = static_cast<uint16_t>((b.scales_h & 0x5555) * 3);  // as for Q3_K
  b.d = s.signed_d();
}

/// Blocks [first, first + n): words of random codes, and one more for the scale.
template <class F>
void fill_blocks(Words words, int64_t first, int64_t n, const std::array<uint16_t, SynthValues::kScales>& scales,
                 const std::array<uint16_t, SynthValues::kScales>& mins, std::byte* out) {
  using Block = typename F::Block;
  constexpr uint64_t kWhole = sizeof(Block) / 8, kRest = sizeof(Block) % 8, kWords = kWhole + 2;
  for (int64_t i = 0; i < n; ++i, out += sizeof(Block)) {
    const uint64_t at = static_cast<uint64_t>(first + i) * kWords;
    uint64_t random[kWhole + 1];
    for (uint64_t w = 0; w <= kWhole; ++w) random[w] = words[at + w];
    static_assert(kRest < sizeof random[0]);
    Block block;
    std::memcpy(&block, random, sizeof block);
    const uint64_t choice = words[at + kWhole + 1];
    const auto which = static_cast<size_t>(choice % SynthValues::kScales);
    settle(block, {.d = scales[which], .min = mins[which], .negative = choice >> 63 != 0});
    std::memcpy(out, &block, sizeof block);
  }
}

/// Values [first, first + n) from a table over the bell: two per word.
template <class T>
void fill_bell(Words words, int64_t first, int64_t n, const std::vector<T>& table, std::byte* out) {
  for (int64_t i = first; i < first + n; ++i, out += sizeof(T)) {
    const uint64_t word = words[static_cast<uint64_t>(i) / 2];
    std::memcpy(out, &table[byte_sum(i % 2 ? word >> 32 : word)], sizeof(T));
  }
}

/// Mean and std of what a content's bell is.
struct Bell {
  double mean = 0, std = 0;
};
Bell bell_of(const SynthTensor& t, const ModelShape& shape) {
  const double by_inputs = 1 / std::sqrt(static_cast<double>(t.desc.cols()));
  switch (t.content) {
    case Content::matrix:
      return {0, by_inputs};
    case Content::residual:
      return {0, by_inputs / std::sqrt(2 * static_cast<double>(shape.layers))};
    case Content::embedding:
      return {0, 1};
    case Content::norm:
      return {1, 0.1};
    case Content::bias:
      return {0, 0.1};
    case Content::convolution:
      return {0, 0.5};
    case Content::decay:
    case Content::time_step:
    case Content::rope_factors:
      break;
  }
  return {};
}

double log_uniform(double low, double high, double u) { return low * std::pow(high / low, u); }

/// By what Llama 3.1 divides rotary frequency i, so that low ones reach a longer context and high ones stay. Source: rope_scaling
/// of the models' config.json (low_freq_factor 1, high_freq_factor 4, original_max_position_embeddings 8192) and transformers'
/// formula for it.
float rope_factor(const ModelShape& s, int64_t i) {
  constexpr double kLow = 1, kHigh = 4, kTrained = 8192;
  const double wavelength = 2 * std::numbers::pi * std::pow(double{s.rope_base}, 2 * static_cast<double>(i) / static_cast<double>(s.rope_dims));
  if (wavelength < kTrained / kHigh) return 1;
  if (wavelength > kTrained / kLow) return s.rope_factor;
  const double smooth = (kTrained / wavelength - kLow) / (kHigh - kLow);
  return static_cast<float>(1 / ((1 - smooth) / double{s.rope_factor} + smooth));
}

}  // namespace

SynthValues::SynthValues(const SynthTensor& tensor, const ModelShape& shape, uint64_t seed)
    : tensor_(tensor), shape_(shape), key_(key_of(seed, tensor.name)) {
  const Bell b = bell_of(tensor, shape);
  if (info(tensor.desc.dtype).block_values > 1) {
    const Balance balance = balance_of(tensor.desc.dtype);
    constexpr double kSpread = 0.25;  // d varies by so much around its mean: rms 1 + spread^2 / 3
    const double mean = b.std / balance.unit / std::sqrt(1 + kSpread * kSpread / 3);
    for (size_t i = 0; i < kScales; ++i) {
      const double position = (2.0 * static_cast<double>(i) + 1) / kScales - 1;
      scales_[i] = float_to_half(static_cast<float>(mean * (1 + kSpread * position)));
      mins_[i] = float_to_half(static_cast<float>(balance.middle) * half_to_float(scales_[i]));
    }
  } else if (b.std > 0) {
    for (uint32_t sum = 0; sum < kBell; ++sum) {
      const auto value = static_cast<float>(b.mean + b.std * bell(sum));
      bell_.push_back(value);
      half_bell_.push_back(float_to_half(value));
    }
  }
}

float SynthValues::special(int64_t i) const {
  const double u = uniform(Words{key_}[static_cast<uint64_t>(i)]);
  switch (tensor_.content) {
    case Content::decay:  // Gated DeltaNet's A in 0.3..8
      return static_cast<float>(-log_uniform(0.3, 8, u));
    case Content::time_step:  // softplus(x) = log(1 + e^x) in 0.003..0.3
      return static_cast<float>(std::log(std::expm1(log_uniform(0.003, 0.3, u))));
    default:
      return rope_factor(shape_, i);
  }
}

void SynthValues::fill(int64_t first, int64_t n, std::byte* out) const {
  const DType type = tensor_.desc.dtype;
  const Words words{key_};
  if (quant::AffineFormats::visit(type, [&]<class F>(F) { fill_blocks<F>(words, first, n, scales_, mins_, out); })) return;
  if (type == DType::f16) return fill_bell(words, first, n, half_bell_, out);
  KERF_CHECK(type == DType::f32, "no random values of type " + std::string(name_of(type)));
  if (!bell_.empty()) return fill_bell(words, first, n, bell_, out);
  for (int64_t i = 0; i < n; ++i) {
    const float value = special(first + i);
    std::memcpy(out + 4 * i, &value, sizeof value);
  }
}

}  // namespace kerf
