#include "core/isa.h"

#include <array>
#include <utility>

#if defined(__x86_64__)
#include <cpuid.h>
#endif

namespace kerf {
namespace {
constexpr std::array<std::pair<Isa, std::string_view>, 4> kNames{
    {{Isa::base, "base"}, {Isa::avx2, "avx2"}, {Isa::avx512, "avx512"}, {Isa::vnni, "vnni"}}};
}

std::string_view name_of(Isa isa) { return kNames[static_cast<size_t>(isa)].second; }

std::optional<Isa> isa_named(std::string_view name) {
  for (const auto& [isa, text] : kNames)
    if (text == name) return isa;
  return std::nullopt;
}

Isa detect_isa() {
#if defined(__x86_64__)
  // Bits: Intel SDM vol. 2A, CPUID leaves 1 and 7; XCR0 bits 1-2 (SSE, AVX) and 5-7 (AVX-512 state), vol. 1, 13.3.
  unsigned a = 0, b = 0, c = 0, d = 0;
  if (!__get_cpuid(1, &a, &b, &c, &d)) return Isa::base;
  const bool fma = c >> 12 & 1, osxsave = c >> 27 & 1, avx = c >> 28 & 1, f16c = c >> 29 & 1;
  if (!osxsave || !avx) return Isa::base;
  unsigned low = 0, high = 0;
  __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  unsigned b7 = 0, c7 = 0;
  if (!__get_cpuid_count(7, 0, &a, &b7, &c7, &d)) return Isa::base;
  if ((low & 0x6) != 0x6 || !fma || !f16c || !(b7 >> 5 & 1)) return Isa::base;
  const bool f = b7 >> 16 & 1, dq = b7 >> 17 & 1, cd = b7 >> 28 & 1, bw = b7 >> 30 & 1, vl = b7 >> 31 & 1;
  if ((low & 0xE0) != 0xE0 || !f || !dq || !cd || !bw || !vl) return Isa::avx2;
  return c7 >> 11 & 1 ? Isa::vnni : Isa::avx512;
#else
  return Isa::base;
#endif
}

}  // namespace kerf
