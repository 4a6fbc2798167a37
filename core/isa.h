// Instruction-set levels of the host that kernels may ask for. A level includes all below it. Which level this machine
// has is found out by detect_isa() and passed on; a forced lower level (--isa) is the same value made smaller.
#pragma once
#include <cstdint>
#include <optional>
#include <string_view>

namespace kerf {

enum class Isa : uint8_t {
  base,    // what every x86-64 has (SSE2)
  avx2,    // AVX2, FMA, F16C
  avx512,  // AVX-512 F, CD, BW, DQ, VL
  vnni,    // AVX512_VNNI
};

std::string_view name_of(Isa isa);
std::optional<Isa> isa_named(std::string_view name);
/// The highest level that both the processor (CPUID) and the operating system (XCR0) support.
Isa detect_isa();

}  // namespace kerf
