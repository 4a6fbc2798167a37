// AMX tiles in software, for tests on machines that have AVX-512 VNNI but no tiles: the machine code of *.amx.cpp runs as it is.
// A tile instruction is an invalid opcode there; Linux sends SIGILL, whose handler executes the instruction on a state of the
// thread and goes on behind it. A use that a processor would refuse prints one line and ends the process by SIGILL.
// Source of encodings, operations and conditions: Intel SDM vol. 2 (LDTILECFG, STTILECFG, TILERELEASE, TILEZERO, TILELOADD,
// TILESTORED, TDPBF16PS, TDPBSSD; 2.10, the AMX exception classes) and vol. 1, chapter "Programming with Intel AMX".
// Also VSCALEFPH and VCVTPH2W as backends/cpu/fixed_unpack.h uses them: every processor with tiles has AVX512-FP16.
#pragma once
#include <cstdint>

#include "core/isa.h"

namespace kerf::tiles {

/// Palette 1, the only one there is: eight tiles of up to 16 rows of up to 64 bytes. The SDM zeroes what lies outside of a
/// tile's shape; no instruction can tell, for none reads it, and a new shape clears all tiles. So whole rows are computed here.
struct State {
  alignas(64) uint8_t data[8][16][64];
  uint8_t palette, start_row;  // palette 0: not configured
  uint16_t row_bytes[8];
  uint8_t rows[8];
};

struct Step {
  int length = 0;  // bytes of the instruction; 0: it is not one of these
  const char* name = "";
  const char* fault = nullptr;  // why a processor would refuse it; nothing has been done then
};

/// Executes the tile instruction at `code`, in its place: addresses may be relative to it. `general`: rax, rcx, rdx, rbx, rsp,
/// rbp, rsi, rdi, r8, ..., as instructions number them. Needs AVX-512.
Step step(State& state, const uint8_t* code, const uint64_t* general);

enum class Provider { processor, emulator, nobody };
/// Who executes tile instructions in this process from now on. Installs the handler if the processor does not, but has
/// everything else that *.amx.cpp is compiled for.
Provider provide();
/// The level of kernels that tests can run here: amx also where it is emulated from now on. Not to be kept from one test case
/// to the next, since Catch2 sets its own handler at the start of each.
Isa isa_with_tiles();

}  // namespace kerf::tiles
