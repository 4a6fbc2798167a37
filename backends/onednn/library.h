// oneDNN as kerf uses it: one thread per call, no AMX.
//
// AMX: oneDNN 2.6 takes the number of the tile palette from CPUID leaf 0x1D. Virtual machines exist that have working AMX
// and an empty leaf 0x1D; there it configures palette 0 and dies at the first `tilezero` (oneDNN issue 5689). So its
// instruction set is capped below AMX everywhere: what kerf compares itself with is oneDNN on AVX-512.
// The cap is a setting of the library, for the whole process and only before its first use: it is set by the functions that
// register the kernels. A program that used oneDNN before with another setting gets an Error.
#pragma once
#include <oneapi/dnnl/dnnl.hpp>

#include "core/isa.h"

namespace kerf::onednn {

/// @throws Error(runtime) if oneDNN may use AMX and can no longer be told not to.
void cap_isa();
/// The level whose instructions oneDNN will use here, in kerf's words; after cap_isa(). No lower one can be asked of it
/// later, so this is what its kernels need: `--isa avx2` excludes them on a machine with AVX-512.
Isa isa_in_use();

/// Until its end the calling thread's calls of oneDNN stay on that thread: the work is shared by kerf's pool, so that -t
/// means the same for every backend. (OpenMP's number of threads is a setting of each thread.)
class OneThread {
 public:
  OneThread();
  ~OneThread();
  OneThread(const OneThread&) = delete;
  OneThread& operator=(const OneThread&) = delete;

 private:
  int before_;
};

}  // namespace kerf::onednn
