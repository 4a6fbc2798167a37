#include "loaders/scan_values.h"

#include <fmt/format.h>

#include <array>
#include <bit>
#include <cmath>
#include <cstring>

#include "core/error.h"
#include "core/half.h"
#include "core/text.h"
#include "loaders/weights.h"

namespace kerf {
namespace {

template <class T>
T load(std::span<const std::byte> bytes, uint64_t at) {
  T value{};
  std::memcpy(&value, bytes.subspan(at, sizeof value).data(), sizeof value);
  return value;
}

std::string what(double v) { return std::isnan(v) ? "nan" : v > 0 ? "inf" : "-inf"; }

/// NaN and infinity are the values whose exponent bits are all set.
template <class Stored, class Decode>
std::optional<BadValue> scan_floats(std::span<const std::byte> bytes, Stored exponent, Decode decode) {
  for (uint64_t i = 0; i < bytes.size() / sizeof(Stored); ++i) {
    const auto bits = load<Stored>(bytes, i * sizeof(Stored));
    if ((bits & exponent) == exponent) return BadValue{i, i * sizeof(Stored), what(decode(bits))};
  }
  return std::nullopt;
}

/// Where a block keeps its binary16 fields: at `scale`, and at `minimum` if it has one (-1: none).
struct HalfFields {
  DType dtype{};
  int scale = 0, minimum = -1;
};
/// Source: ggml-common.h's block structs, restated. iq1_m and mxfp4 have no such field and are handled below; nvfp4's
/// scales (UE4M3) have no infinity, and the code that would be NaN decodes to 0.
constexpr std::array<HalfFields, 22> kHalves{{
    {DType::q4_0, 0},   {DType::q4_1, 0, 2}, {DType::q5_0, 0},    {DType::q5_1, 0, 2}, {DType::q8_0, 0},    {DType::q2_k, 80, 82},
    {DType::q3_k, 108}, {DType::q4_k, 0, 2}, {DType::q5_k, 0, 2}, {DType::q6_k, 208},  {DType::iq2_xxs, 0}, {DType::iq2_xs, 0},
    {DType::iq2_s, 0},  {DType::iq3_xxs, 0}, {DType::iq3_s, 0},   {DType::iq1_s, 0},   {DType::iq4_nl, 0},  {DType::iq4_xs, 0},
    {DType::tq1_0, 52}, {DType::tq2_0, 64},  {DType::q1_0, 0},    {DType::q2_0, 0},
}};

std::optional<BadValue> scan_halves(const HalfFields& fields, uint64_t block_bytes, std::span<const std::byte> bytes) {
  for (uint64_t block = 0; block < bytes.size() / block_bytes; ++block)
    for (const int field : {fields.scale, fields.minimum}) {
      if (field < 0) continue;
      const uint64_t at = block * block_bytes + static_cast<uint64_t>(field);
      const float v = half_to_float(load<uint16_t>(bytes, at));
      if (!std::isfinite(v)) return BadValue{block, at, fmt::format("{} is {}", field == fields.scale ? "scale" : "minimum", what(v))};
    }
  return std::nullopt;
}

/// iq1_m spreads its binary16 scale over the top four bits of the four 16-bit words at byte 48.
std::optional<BadValue> scan_iq1_m(std::span<const std::byte> bytes) {
  constexpr uint64_t kBlock = 56, kScales = 48;
  for (uint64_t block = 0; block < bytes.size() / kBlock; ++block) {
    unsigned scale = 0;
    for (uint64_t w = 0; w < 4; ++w) scale |= (load<uint16_t>(bytes, block * kBlock + kScales + 2 * w) >> 12u) << (4 * w);
    const float v = half_to_float(static_cast<uint16_t>(scale));
    if (!std::isfinite(v)) return BadValue{block, block * kBlock + kScales, "scale is " + what(v)};
  }
  return std::nullopt;
}

/// mxfp4's scale is E8M0, whose only special code is 255 = NaN (OCP Microscaling Formats 1.0, 5.4.1).
std::optional<BadValue> scan_mxfp4(std::span<const std::byte> bytes) {
  constexpr uint64_t kBlock = 17;
  for (uint64_t block = 0; block < bytes.size() / kBlock; ++block)
    if (load<uint8_t>(bytes, block * kBlock) == 255) return BadValue{block, block * kBlock, "scale is nan"};
  return std::nullopt;
}

}  // namespace

std::optional<BadValue> first_bad_value(const TensorDesc& desc, std::span<const std::byte> bytes) {
  switch (desc.dtype) {
    case DType::f32:
      return scan_floats<uint32_t>(bytes, 0x7F800000u, [](uint32_t b) { return std::bit_cast<float>(b); });
    case DType::f64:
      return scan_floats<uint64_t>(bytes, 0x7FF0000000000000u, [](uint64_t b) { return std::bit_cast<double>(b); });
    case DType::f16:
      return scan_floats<uint16_t>(bytes, 0x7C00u, half_to_float);
    case DType::bf16:
      return scan_floats<uint16_t>(bytes, 0x7F80u, bf16_to_float);
    case DType::iq1_m:
      return scan_iq1_m(bytes);
    case DType::mxfp4:
      return scan_mxfp4(bytes);
    default:
      break;
  }
  for (const auto& row : kHalves)
    if (row.dtype == desc.dtype) return scan_halves(row, static_cast<uint64_t>(info(desc.dtype).block_bytes), bytes);
  return std::nullopt;
}

std::vector<FileError> scan_values(const gguf::File& file) {
  std::vector<FileError> found;
  for (const auto& t : file.tensors())
    if (const auto bad = first_bad_value(t.desc, file.data(t)))
      found.push_back(
          FileError({.path = file.path(t.split),
                     .offset = t.offset + bad->byte,
                     .field = fmt::format(fmt::runtime(info(t.desc.dtype).block_values > 1 ? "{} block {}" : "{}[{}]"), t.name, bad->index),
                     .found = bad->what}));
  return found;
}

}  // namespace kerf
