#include "tests/kernels/tile_emulator.h"

#include <signal.h>

#include "tests/kernels/tile_emulator_avx512.h"

namespace kerf::tiles {

Provider provide() {
  const Isa isa = detect_isa();
  if (isa >= Isa::amx) return Provider::processor;
  if (isa < Isa::vnni || !__builtin_cpu_supports("avx512vbmi") || !__builtin_cpu_supports("avx512vbmi2") || !__builtin_cpu_supports("avx512bf16"))
    return Provider::nobody;
  struct sigaction action {};
  action.sa_sigaction = on_illegal_instruction;
  action.sa_flags = SA_SIGINFO;
  return sigaction(SIGILL, &action, nullptr) == 0 ? Provider::emulator : Provider::nobody;
}

Isa isa_with_tiles() { return provide() == Provider::nobody ? detect_isa() : Isa::amx; }

}  // namespace kerf::tiles
