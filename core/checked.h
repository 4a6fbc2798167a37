// Arithmetic on sizes that come from outside. Every size computed from file contents goes through these three;
// nullopt means the mathematical result does not fit, and the caller says which field was to blame.
#pragma once
#include <cstdint>
#include <optional>

namespace kerf {

constexpr std::optional<uint64_t> checked_add(uint64_t a, uint64_t b) {
  uint64_t r = 0;
  if (__builtin_add_overflow(a, b, &r)) return std::nullopt;
  return r;
}

constexpr std::optional<uint64_t> checked_mul(uint64_t a, uint64_t b) {
  uint64_t r = 0;
  if (__builtin_mul_overflow(a, b, &r)) return std::nullopt;
  return r;
}

/// The smallest multiple of `alignment` (a power of two) that is >= n.
constexpr std::optional<uint64_t> align_up(uint64_t n, uint64_t alignment) {
  const auto padded = checked_add(n, alignment - 1);
  if (!padded) return std::nullopt;
  return *padded & ~(alignment - 1);
}

}  // namespace kerf
