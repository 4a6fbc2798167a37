// How kernels of a real GPU are launched, the same for CUDA and HIP: the runtime is called in one place, backends/gpu/stream.cpp.
#pragma once
#include <cstddef>
#include <string_view>

#include "core/error.h"
#include "core/kernel.h"

namespace kerf::gpu {

struct Blocks3 {
  unsigned x = 1, y = 1, z = 1;
};
struct Launch {
  std::string_view kernel{};
  Blocks3 blocks{};
  unsigned threads = 1;
  size_t shared = 0;  // dynamic, bytes
};

/// The queue of a device: one stream, in order.
class Stream : public DeviceQueue {
 public:
  /// @throws Error(runtime) that names kernel, launch and device, and what the runtime said
  virtual void launch(const Launch& launch, const void* kernel, void** arguments) = 0;
};

template <class Args>
void launch(const Call& call, const Launch& l, void (*kernel)(Args), const Args& args) {
  KERF_CHECK(call.queue, "a GPU kernel without a device");
  void* arguments[] = {const_cast<Args*>(&args)};
  static_cast<Stream&>(*call.queue).launch(l, reinterpret_cast<const void*>(kernel), arguments);
}

}  // namespace kerf::gpu
