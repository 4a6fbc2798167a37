// `cuda:N` and `hip:N`: compiled once for each runtime, whose calls KERF_GPU_API names.
#include KERF_GPU_API

#include <fmt/format.h>

#include <array>
#include <cstring>

#include "backends/gpu/vendor/stream.h"
#include "core/device.h"
#include "core/error.h"
#include "core/text.h"

namespace kerf {

/// What backends/CMakeLists.txt puts into device_kinds(): cuda_devices, hip_devices.
DeviceKind KERF_GPU_API_DEVICES();

namespace KERF_GPU_API_NS {

std::vector<Probe> probes();  // kernels/probes.cpp

namespace {

/// Of each of two pinned buffers, through which pageable memory is copied: while one is filled, the other is on its way.
constexpr int64_t kPinned = int64_t{4} << 20;

/// For what is given back: there is nobody to tell that it failed.
void ignore(Status) {}

class GpuDevice final : public Device {
 public:
  GpuDevice(const DeviceSpec& spec, int64_t limit) : Device(spec.id(), limit), number_(spec.number), queue_(*this) {
    enter();
    check(create_stream(&stream_), "a stream");
    for (auto& p : pinned_) {
      check(allocate_pinned(&p.bytes, kPinned), fmt::format("{} bytes of pinned memory", kPinned));
      check(create_event(&p.sent), "an event");
    }
  }
  ~GpuDevice() override {
    enter();
    for (auto& p : pinned_) {
      if (p.sent) ignore(destroy_event(p.sent));
      if (p.bytes) ignore(release_pinned(p.bytes));
    }
    if (stream_) ignore(destroy_stream(stream_));
  }

  bool in_host_memory() const override { return false; }
  Buffer allocate(int64_t bytes) override {
    if (bytes == 0) return {};
    enter();
    void* p = nullptr;
    if (const Status s = KERF_GPU_API_NS::allocate(&p, static_cast<size_t>(bytes)); s != kSuccess) {
      size_t free = 0, total = 0;
      ignore(memory(&free, &total));
      throw Error(ErrorKind::memory,
                  fmt::format("cannot allocate {} ({} bytes), {} are free: {}", human_bytes(bytes), bytes, human_bytes(static_cast<int64_t>(free)),
                              text_of(s)),
                  id(), "use a smaller -c or -ub, or place less there");
    }
    return {p, bytes, [](void* data, int64_t) { ignore(release(data)); }};
  }

  void upload(void* to, const void* host, int64_t bytes) override {
    for (int64_t done = 0; done < bytes; done += kPinned) {
      const auto part = static_cast<size_t>(std::min(kPinned, bytes - done));
      Pinned& p = pinned_[next_++ % pinned_.size()];
      check(wait_for_event(p.sent), "an upload");
      std::memcpy(p.bytes, static_cast<const std::byte*>(host) + done, part);
      check(copy_to_device(static_cast<std::byte*>(to) + done, p.bytes, part, stream_), "an upload");
      check(record_event(p.sent, stream_), "an upload");
    }
  }

  /// Part n + 1 is on its way while part n is copied out of its pinned buffer.
  void download(void* host, const void* from, int64_t bytes) override {
    const int64_t parts = (bytes + kPinned - 1) / kPinned;
    const auto size = [&](int64_t part) { return static_cast<size_t>(std::min(kPinned, bytes - part * kPinned)); };
    const auto ask = [&](int64_t part) {
      Pinned& p = pinned_[static_cast<size_t>(part) % pinned_.size()];
      check(copy_to_host(p.bytes, static_cast<const std::byte*>(from) + part * kPinned, size(part), stream_), "a download");
      check(record_event(p.sent, stream_), "a download");
    };
    for (auto& p : pinned_) check(wait_for_event(p.sent), "an upload");
    if (parts > 0) ask(0);
    for (int64_t part = 0; part < parts; ++part) {
      if (part + 1 < parts) ask(part + 1);
      Pinned& p = pinned_[static_cast<size_t>(part) % pinned_.size()];
      check(wait_for_event(p.sent), "a download");
      std::memcpy(static_cast<std::byte*>(host) + part * kPinned, p.bytes, size(part));
    }
    last_ = {};
  }

  void run(const Kernel& kernel, const Problem& problem, const Call& call) override {
    Call here = call;
    here.queue = &queue_;
    kernel_ = &kernel;
    kernel.run(problem, here);
  }

  void wait() override {
    check(wait_for_stream(stream_), "what was launched");
    last_ = {};
  }

  std::unique_ptr<Recording> record(const std::function<void()>& steps) override {
    check(begin_capture(stream_), "the begin of a graph");
    Graph graph{};
    std::vector<LaunchedKernel> launches;
    launches_ = &launches;
    try {
      steps();
      launches_ = nullptr;
    } catch (...) {
      launches_ = nullptr;
      if (end_capture(stream_, &graph) == kSuccess && graph) ignore(destroy_graph(graph));
      throw;
    }
    check(end_capture(stream_, &graph), "the end of a graph");
    Executable executable{};
    const Status s = make_executable(&executable, graph);
    ignore(destroy_graph(graph));
    check(s, "a graph");
    return std::make_unique<LaunchGraph>(*this, executable, std::move(launches));
  }

  void enter() override { check(use_device(number_), "the device"); }

 private:
  class Queue final : public gpu::Stream {
   public:
    explicit Queue(GpuDevice& device) : device_(device) {}
    void launch(const gpu::Launch& l, const void* kernel, void** arguments) override { device_.launch(l, kernel, arguments); }

   private:
    GpuDevice& device_;
  };
  class LaunchGraph final : public Recording {
   public:
    LaunchGraph(GpuDevice& device, Executable executable, std::vector<LaunchedKernel> launches)
        : device_(device), executable_(executable), launches_(std::move(launches)) {}
    ~LaunchGraph() override { ignore(destroy_executable(executable_)); }
    void replay() override { device_.check(launch_graph(executable_, device_.stream_), "a graph"); }
    const std::vector<LaunchedKernel>& launches() const override { return launches_; }

   private:
    GpuDevice& device_;
    Executable executable_;
    std::vector<LaunchedKernel> launches_;
  };
  struct Pinned {
    void* bytes = nullptr;
    Event sent{};
  };

  void launch(const gpu::Launch& l, const void* kernel, void** arguments) {
    last_ = fmt::format("{} ({}: {}x{}x{} blocks of {} threads, {} bytes of dynamic shared memory)", kernel_->name(), l.kernel, l.blocks.x,
                        l.blocks.y, l.blocks.z, l.threads, l.shared);
    if (launches_)
      launches_->push_back(
          {.function = std::string(l.kernel), .blocks = {l.blocks.x, l.blocks.y, l.blocks.z}, .threads = l.threads, .shared = l.shared});
    check(launch_kernel(kernel, l.blocks.x, l.blocks.y, l.blocks.z, l.threads, arguments, l.shared, stream_), last_);
  }
  /// An error of a launch shows at once; one of its execution at a later call, whatever that is for.
  void check(Status s, std::string_view what) const {
    if (s == kSuccess) return;
    throw Error(ErrorKind::runtime, fmt::format("{} on {} failed: {}", what, id(), text_of(s)),
                last_.empty() ? std::string{} : "launched last: " + last_);
  }

  int number_;
  Queue queue_;
  RawStream stream_{};
  std::array<Pinned, 2> pinned_{};
  size_t next_ = 0;
  const Kernel* kernel_ = nullptr;
  std::vector<LaunchedKernel>* launches_ = nullptr;  // of the graph that is being captured
  std::string last_{};
};

std::unique_ptr<Device> make(const DeviceSpec& spec) {
  int count = 0;
  const Status s = count_devices(&count);
  if (s != kSuccess || spec.number >= count)
    throw Error(ErrorKind::usage,
                s != kSuccess ? fmt::format("no GPU can be used: {}", text_of(s)) : fmt::format("this machine has {} of these", count), spec.id(),
                "emu:N=SIZE runs the same kernels without a GPU");
  if (!spec.options.empty()) throw Error(ErrorKind::usage, fmt::format("{} has no option \"{}\"", spec.id(), printable(spec.options[0])), "--device");
  int64_t limit = spec.limit;
  if (limit == 0) {  // all that is free now
    size_t free = 0, total = 0;
    ignore(use_device(spec.number));
    ignore(memory(&free, &total));
    limit = static_cast<int64_t>(free);
  }
  return std::make_unique<GpuDevice>(spec, limit);
}

}  // namespace

}  // namespace KERF_GPU_API_NS

DeviceKind KERF_GPU_API_DEVICES() {
  return {.name = KERF_GPU_API_NS::kKind, .syntax = KERF_GPU_API_NS::kSyntax, .probes = KERF_GPU_API_NS::probes, .make = KERF_GPU_API_NS::make};
}

}  // namespace kerf
