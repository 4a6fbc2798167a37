// The backends of this build: each adds its kernels to a registry. The functions are written by the build
// (cmake/kernels.cmake, backends/CMakeLists.txt).
#pragma once
#include <span>
#include <string_view>

#include "core/device.h"
#include "core/kernel.h"

namespace kerf {

/// Every backend that this build has: these two, and those of libraries that were found (eigen, onednn).
void fill_all(Registry& registry);
std::span<const std::string_view> backend_names();

/// The kinds of devices that backends of this build bring along (emu).
std::span<const DeviceKind> device_kinds();

void fill_reference(Registry& registry);
void fill_cpu(Registry& registry);
void fill_emu(Registry& registry);  // GPU kernels on an emulator: these two are in every build as well
void fill_emu64(Registry& registry);

}  // namespace kerf
