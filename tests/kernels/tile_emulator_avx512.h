// The part of the emulator that is compiled with AVX-512: runs only where provide() found it.
#pragma once
#include <signal.h>

namespace kerf::tiles {

/// The handler of SIGILL. Async-signal-safe: no allocation, no lock, state in static thread-local storage.
void on_illegal_instruction(int, siginfo_t*, void* context);

}  // namespace kerf::tiles
