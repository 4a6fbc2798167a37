#include "core/isa.h"

#include <array>
#include <cerrno>
#include <utility>

#if defined(__x86_64__)
#include <cpuid.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
#endif

namespace kerf {
namespace {

constexpr std::array<std::pair<Isa, std::string_view>, 5> kNames{
    {{Isa::base, "base"}, {Isa::avx2, "avx2"}, {Isa::avx512, "avx512"}, {Isa::vnni, "vnni"}, {Isa::amx, "amx"}}};

#if defined(__x86_64__)

/// What CPUID and XCR0 promise. Bits: Intel SDM vol. 2A, CPUID leaves 1 and 7; XCR0 bits 1-2 (SSE, AVX), 5-7 (AVX-512
/// state) and 17-18 (tile configuration and data), vol. 1, 13.3.
Isa promised() {
  unsigned a = 0, b = 0, c = 0, d = 0;
  if (!__get_cpuid(1, &a, &b, &c, &d)) return Isa::base;
  const bool fma = c >> 12 & 1, osxsave = c >> 27 & 1, avx = c >> 28 & 1, f16c = c >> 29 & 1;
  if (!osxsave || !avx) return Isa::base;
  unsigned low = 0, high = 0;
  __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  unsigned b7 = 0, c7 = 0, d7 = 0;
  if (!__get_cpuid_count(7, 0, &a, &b7, &c7, &d7)) return Isa::base;
  if ((low & 0x6) != 0x6 || !fma || !f16c || !(b7 >> 5 & 1)) return Isa::base;
  const bool f = b7 >> 16 & 1, dq = b7 >> 17 & 1, cd = b7 >> 28 & 1, bw = b7 >> 30 & 1, vl = b7 >> 31 & 1;
  if ((low & 0xE0) != 0xE0 || !f || !dq || !cd || !bw || !vl) return Isa::avx2;
  if (!(c7 >> 11 & 1)) return Isa::avx512;
  const bool vbmi = c7 >> 1 & 1, vbmi2 = c7 >> 6 & 1, fp16 = d7 >> 23 & 1, tile = d7 >> 24 & 1, int8 = d7 >> 25 & 1, tile_bf16 = d7 >> 22 & 1;
  unsigned a71 = 0;
  if (!__get_cpuid_count(7, 1, &a71, &b, &c, &d)) return Isa::vnni;
  const bool bf16 = a71 >> 5 & 1;
  return vbmi && vbmi2 && fp16 && bf16 && tile && int8 && tile_bf16 && (low & 0x60000) == 0x60000 ? Isa::amx : Isa::vnni;
}

/// Linux saves tile data only for processes that asked (Documentation/arch/x86/xstate.rst).
bool tiles_permitted() {
  constexpr long kArchReqXcompPerm = 0x1023, kTileData = 18;
  return syscall(SYS_arch_prctl, kArchReqXcompPerm, kTileData) == 0;
}

/// One instruction of each extension of the level. Assembler, so that this file needs no vector flags.
void try_level(Isa isa) {
  if (isa >= Isa::avx2)
    __asm__ volatile("vpaddb %%ymm0, %%ymm0, %%ymm0\n\tvfmadd231ps %%ymm0, %%ymm0, %%ymm0\n\tvcvtph2ps %%xmm0, %%ymm0" ::: "xmm0");
  if (isa >= Isa::avx512)
    __asm__ volatile("vpaddb %%zmm0, %%zmm0, %%zmm0\n\tvpmullq %%ymm0, %%ymm0, %%ymm0\n\tvpconflictd %%zmm0, %%zmm0" ::: "xmm0");
  if (isa >= Isa::vnni) __asm__ volatile("vpdpbusd %%zmm0, %%zmm0, %%zmm0" ::: "xmm0");
  if (isa < Isa::amx) return;
  // Palette 1; tiles 0-2 of 16 rows of 64 bytes (SDM vol. 2A, LDTILECFG).
  struct alignas(64) {
    uint8_t palette = 1, start_row = 0, reserved[14] = {};
    uint16_t bytes[16] = {64, 64, 64};
    uint8_t rows[16] = {16, 16, 16};
  } config;
  __asm__ volatile(
      "vpermb %%zmm0, %%zmm0, %%zmm0\n\tvpshldw $1, %%zmm0, %%zmm0, %%zmm0\n\tvdpbf16ps %%zmm0, %%zmm0, %%zmm0\n\tvaddph %%zmm0, %%zmm0, %%zmm0\n\t"
      "ldtilecfg %0\n\ttilezero %%tmm0\n\ttilezero %%tmm1\n\ttilezero %%tmm2\n\ttdpbf16ps %%tmm0, %%tmm1, %%tmm2\n\t"
      "tdpbssd %%tmm0, %%tmm1, %%tmm2\n\ttilerelease" ::"m"(config)
      : "xmm0", "memory");
}

/// Whether the level's instructions run. A fault ends only the child.
bool runs(Isa isa) {
  const pid_t child = fork();
  if (child < 0) return false;
  if (child == 0) {
    prctl(PR_SET_DUMPABLE, 0);  // a fault here is an answer, not something to keep a core file of
    try_level(isa);
    _exit(0);
  }
  int status = 0;
  while (waitpid(child, &status, 0) < 0)
    if (errno != EINTR) return false;
  return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

#endif

}  // namespace

std::string_view name_of(Isa isa) { return kNames[static_cast<size_t>(isa)].second; }

std::optional<Isa> isa_named(std::string_view name) {
  for (const auto& [isa, text] : kNames)
    if (text == name) return isa;
  return std::nullopt;
}

Isa detect_isa() {
#if defined(__x86_64__)
  Isa isa = promised();
  if (isa == Isa::amx && !tiles_permitted()) isa = Isa::vnni;
  while (isa != Isa::base && !runs(isa)) isa = static_cast<Isa>(static_cast<int>(isa) - 1);
  return isa;
#else
  return Isa::base;
#endif
}

}  // namespace kerf
