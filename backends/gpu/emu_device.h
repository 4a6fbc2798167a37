// `emu:N`: a GPU whose kernels the emulator executes, with memory of its own (PrivateMemory) and, if asked for, a link to the host
// that is as slow as a real one. `emu64:N`: the same with waves of 64 lanes.
#pragma once
#include <memory>

#include "backends/gpu/simt/queue.h"
#include "core/device.h"

namespace kerf {

struct EmuOptions {
  simt::Queue::Options queue{};
  double bytes_per_second = 0;  // of uploads and downloads; 0: as fast as they go
};
std::unique_ptr<Device> emu_device(DeviceId id, int64_t limit, EmuOptions options);

/// What backends/CMakeLists.txt puts into device_kinds().
DeviceKind emu_devices();
DeviceKind emu64_devices();

}  // namespace kerf
