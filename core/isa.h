// Instruction-set levels of the host that kernels may ask for. A level includes all below it. Which level this machine
// has is found out by detect_isa() and passed on; a forced lower level (--isa) is the same value made smaller.
// Virtual machines hide or invent CPUID bits (leaf 0x1D, the tile palettes, reads as zero on some that run AMX well), so a
// level counts only after a few of its instructions have run in a child process without a fault.
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
  amx,     // AMX tiles with bf16 and int8 products; AVX512 VBMI, VBMI2, BF16, FP16, which every such core has
};

std::string_view name_of(Isa isa);
std::optional<Isa> isa_named(std::string_view name);
/// The highest level that the processor reports (CPUID), the operating system saves (XCR0) and that passes a trial run.
/// Asks Linux for the permission to use tiles, which then holds for this process and the threads it starts.
Isa detect_isa();

}  // namespace kerf
