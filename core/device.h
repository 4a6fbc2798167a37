// A device has memory of its own and runs kernels on it. The host is one; a pretend device is one that runs the host's
// kernels on its own copies, so that boundaries, limits and plans over several devices can be studied on any machine.
// Only the executor calls upload() and download(), and only for Copy steps, for loading weights to their homes and for keeping
// states; observers download what they show.
#pragma once
#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "core/kernel.h"

namespace kerf {

using DeviceId = std::string;  // "cpu", "pretend:0"
inline const DeviceId kHost = "cpu";

/// Memory on a device, freed with the object. `data` is an address in the device's own space.
class Buffer {
 public:
  Buffer() = default;
  Buffer(void* data, int64_t size, std::function<void(void*, int64_t)> release) : data_(data), size_(size), release_(std::move(release)) {}
  Buffer(Buffer&& other) noexcept : data_(other.data_), size_(other.size_), release_(std::move(other.release_)) { other.data_ = nullptr; }
  Buffer& operator=(Buffer&& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(size_, other.size_);
    std::swap(release_, other.release_);
    return *this;
  }
  ~Buffer() {
    if (data_) release_(data_, size_);
  }
  std::byte* data() const { return static_cast<std::byte*>(data_); }
  int64_t size() const { return size_; }

 private:
  void* data_ = nullptr;
  int64_t size_ = 0;
  std::function<void(void*, int64_t)> release_{};
};

/// Memory of a device that is pretended in the host's: only between open() and close() its pages may be touched, so that a step
/// of another device that reached for them without a Copy faults instead of passing unseen.
class PrivateMemory {
 public:
  /// @throws Error(memory), which names `id`
  Buffer allocate(const DeviceId& id, int64_t bytes);
  void open(const DeviceId& id);
  void close() noexcept;

 private:
  struct Mapping {
    void* data;
    int64_t size;
  };
  std::vector<Mapping> mapped_;
  bool open_ = false;
};

/// A function that runs on a device, and how often at once.
struct LaunchedKernel {
  std::string function{};
  std::array<unsigned, 3> blocks{};
  unsigned threads = 1;  // of a block
  size_t shared = 0;     // bytes that the launch adds to what the function declares
};

/// What steps launched on a device, kept to be launched again as a whole (a graph of CUDA or HIP): one call of the runtime instead
/// of one per kernel, which is most of the time of a token of a small model.
class Recording {
 public:
  Recording() = default;
  virtual ~Recording() = default;
  Recording(const Recording&) = delete;
  Recording& operator=(const Recording&) = delete;
  virtual void replay() = 0;
  /// In order.
  virtual const std::vector<LaunchedKernel>& launches() const = 0;
};

class Device {
 public:
  explicit Device(DeviceId id, int64_t limit) : id_(std::move(id)), limit_(limit) {}
  virtual ~Device() = default;
  Device(const Device&) = delete;
  Device& operator=(const Device&) = delete;

  const DeviceId& id() const { return id_; }
  /// Bytes kerf may use there; 0: no limit declared.
  int64_t limit() const { return limit_; }

  /// Whether its memory is taken from the host's, as that of devices that are not real is.
  virtual bool in_host_memory() const { return true; }
  /// Memory aligned to kDeviceAlignment. @throws Error(memory) with what was asked for.
  virtual Buffer allocate(int64_t bytes) = 0;
  virtual void upload(void* to, const void* host, int64_t bytes) = 0;
  virtual void download(void* host, const void* from, int64_t bytes) = 0;
  /// Launches it, in the order of the calls; it may still run when this returns. upload() and download() keep to that order too.
  virtual void run(const Kernel& kernel, const Problem& problem, const Call& call) = 0;
  /// Returns when all that was launched has ended. @throws Error(runtime) if something of it failed
  virtual void wait() {}
  /// Calls `steps`, whose run() launch nothing but are kept. Null if this device does not do that, `steps` is not called then.
  virtual std::unique_ptr<Recording> record(const std::function<void()>&) { return nullptr; }
  /// For tests: from now on an access of a kernel to these bytes is an error, or no longer. Devices that can not tell do nothing.
  virtual void forbid(void*, int64_t) {}
  virtual void allow(void*, int64_t) {}
  /// Steps of this device begin and end here: between enter() and leave() its memory may be used.
  virtual void enter() {}
  virtual void leave() noexcept {}

 private:
  DeviceId id_;
  int64_t limit_;
};

/// What a device allocates starts at a multiple of this (a cache line, the widest vector), and so does each weight, state
/// and computed value in it. Host weights stay where the file has them (32), inputs where the caller has them.
inline constexpr int64_t kDeviceAlignment = 64;
constexpr int64_t device_aligned(int64_t bytes) { return (bytes + kDeviceAlignment - 1) / kDeviceAlignment * kDeviceAlignment; }

/// The machine itself: memory is host memory.
std::unique_ptr<Device> host_device(int64_t limit = 0);
/// `pretend:N`: host kernels on PrivateMemory.
std::unique_ptr<Device> pretend_device(DeviceId id, int64_t limit);

/// What `--device KIND:NUMBER=SIZE,OPTION,...` says.
struct DeviceSpec {
  std::string kind{};
  int number = 0;
  int64_t limit = 0;                   // bytes; 0: none given
  std::vector<std::string> options{};  // not looked at yet
  DeviceId id() const;
};
/// A measurement of what a device can do at most: a kernel that is no op, over f32 memory of any size, in[0], which holds zeros.
struct Probe {
  Kernel kernel{};   // of which op is the probe's name
  double bytes = 0;  // moved by one run, per byte of memory
  int64_t flops_per_block = 0;
  unsigned (*blocks)(int64_t memory_bytes) = nullptr;
};
/// The probe that measures nothing: it writes 64 lanes x 5 x 24 words, which lane holds which element of a tile.
inline constexpr std::string_view kLayoutProbe = "layout";
inline constexpr int64_t kLayoutBytes = int64_t{64} * 5 * 24 * 4;

/// A kind of device that a backend brings along.
struct DeviceKind {
  std::string_view name{};
  std::string_view syntax{};  // for messages: "emu:N=SIZE[,RATE]"
  std::vector<Probe> (*probes)() = nullptr;
  std::unique_ptr<Device> (*make)(const DeviceSpec& spec) = nullptr;  // @throws Error(usage) for options it does not know
};
/// "cpu", "cpu=16GiB", "pretend:0=2GiB", or one of `kinds`. @throws Error(usage) for a name or size that is none, or a kind this build has not.
std::unique_ptr<Device> make_device(std::string_view text, std::span<const DeviceKind> kinds = {});

}  // namespace kerf
