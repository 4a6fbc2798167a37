#include "backends/gpu/emu_device.h"

#include <fmt/format.h>

#include <charconv>
#include <chrono>
#include <cstring>
#include <thread>

#include "core/error.h"
#include "core/text.h"

namespace kerf {
namespace emu {
std::vector<Probe> probes();
}
namespace emu64 {
std::vector<Probe> probes();
}
namespace {

class EmuDevice final : public Device {
 public:
  EmuDevice(DeviceId id, int64_t limit, EmuOptions options) : Device(std::move(id), limit), rate_(options.bytes_per_second), queue_(options.queue) {}
  Buffer allocate(int64_t bytes) override { return memory_.allocate(id(), bytes); }
  void upload(void* to, const void* host, int64_t bytes) override { transfer(to, host, bytes); }
  void download(void* host, const void* from, int64_t bytes) override { transfer(host, from, bytes); }
  void run(const Kernel& kernel, const Problem& problem, const Call& call) override {
    Call here = call;
    here.queue = &queue_;
    try {
      kernel.run(problem, here);
    } catch (const Error& e) {
      throw Error(e.kind, fmt::format("{}: {}", id(), e.message), fmt::format("{}, {}", kernel.name(), e.where), e.hint);
    }
  }
  std::unique_ptr<Recording> record(const std::function<void()>& steps) override { return queue_.record(steps); }
  void forbid(void* bytes, int64_t n) override { simt::forbid(bytes, static_cast<size_t>(n)); }
  void allow(void* bytes, int64_t n) override { simt::allow(bytes, static_cast<size_t>(n)); }
  void enter() override { memory_.open(id()); }
  void leave() noexcept override { memory_.close(); }

 private:
  /// Takes as long as the link would.
  void transfer(void* to, const void* from, int64_t bytes) const {
    const auto start = std::chrono::steady_clock::now();
    std::memcpy(to, from, static_cast<size_t>(bytes));
    if (rate_ > 0)
      std::this_thread::sleep_until(
          start + std::chrono::duration_cast<std::chrono::nanoseconds>(std::chrono::duration<double>(static_cast<double>(bytes) / rate_)));
  }

  double rate_;
  PrivateMemory memory_;
  simt::Queue queue_;
};

bool is_number(std::string_view text, uint64_t& value) {
  const auto [end, failed] = std::from_chars(text.data(), text.data() + text.size(), value);
  return failed == std::errc{} && end == text.data() + text.size();
}

std::unique_ptr<Device> make(const DeviceSpec& spec) {
  if (spec.limit == 0) throw Error(ErrorKind::usage, fmt::format("{} has no size", spec.id()), "--device", fmt::format("write {}=4GiB", spec.id()));
  EmuOptions options;
  for (const std::string_view option : spec.options) {
    constexpr std::string_view kRandom = "random:", kPerSecond = "/s";
    auto& order = options.queue.order;
    if (option == "forward") {
      order.schedule = simt::Schedule::forward;
    } else if (option == "reverse") {
      order.schedule = simt::Schedule::reverse;
    } else if (option.starts_with(kRandom) && is_number(option.substr(kRandom.size()), order.seed)) {
      order.schedule = simt::Schedule::random;
    } else if (option.ends_with(kPerSecond)) {
      options.bytes_per_second = static_cast<double>(parse_bytes(option.substr(0, option.size() - kPerSecond.size())));
    } else {
      throw Error(ErrorKind::usage, fmt::format("{} has no option \"{}\"", spec.id(), printable(option)), "--device",
                  "a transfer rate (16GB/s), or the order of its threads: forward, reverse, random:SEED");
    }
  }
  return emu_device(spec.id(), spec.limit, options);
}

}  // namespace

std::unique_ptr<Device> emu_device(DeviceId id, int64_t limit, EmuOptions options) {
  return std::make_unique<EmuDevice>(std::move(id), limit, std::move(options));
}

DeviceKind emu_devices() { return {.name = "emu", .syntax = "emu:N=SIZE[,RATE]", .probes = emu::probes, .make = make}; }
DeviceKind emu64_devices() { return {.name = "emu64", .syntax = "emu64:N=SIZE[,RATE]", .probes = emu64::probes, .make = make}; }

}  // namespace kerf
