#include "core/device.h"

#include <fmt/format.h>
#include <sys/mman.h>
#include <unistd.h>

#include <charconv>
#include <cstdlib>
#include <cstring>
#include <map>

#include "core/error.h"
#include "core/text.h"

namespace kerf {
namespace {

[[noreturn]] void no_memory(const DeviceId& id, int64_t bytes) {
  throw Error(ErrorKind::memory, fmt::format("cannot allocate {} ({} bytes)", human_bytes(bytes), bytes), id,
              "use a smaller -c or -ub, or free memory");
}

constexpr int64_t kHugePage = int64_t{2} << 20;

class HostDevice final : public Device {
 public:
  using Device::Device;
  Buffer allocate(int64_t bytes) override {
    if (bytes == 0) return {};
    if (bytes < kHugePage) {
      void* p = std::aligned_alloc(static_cast<size_t>(kDeviceAlignment), static_cast<size_t>(device_aligned(bytes)));
      if (!p) no_memory(id(), bytes);
      return {p, bytes, [](void* data, int64_t) { std::free(data); }};
    }
    // Long arrays on huge pages, where the system gives them: a page walk less for every 4 KB read. Linux takes the
    // request as a hint, and pages are first touched (so placed) by the threads that fill them.
    const int64_t mapped = (bytes + kHugePage - 1) / kHugePage * kHugePage + kHugePage;
    void* p = mmap(nullptr, static_cast<size_t>(mapped), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (p == MAP_FAILED) no_memory(id(), bytes);
    const auto start = (reinterpret_cast<uintptr_t>(p) + kHugePage - 1) / kHugePage * kHugePage;
    madvise(reinterpret_cast<void*>(start), static_cast<size_t>(mapped - kHugePage), MADV_HUGEPAGE);
    return {reinterpret_cast<void*>(start), bytes, [p, mapped](void*, int64_t) { munmap(p, static_cast<size_t>(mapped)); }};
  }
  void upload(void* to, const void* host, int64_t bytes) override { std::memcpy(to, host, static_cast<size_t>(bytes)); }
  void download(void* host, const void* from, int64_t bytes) override { std::memcpy(host, from, static_cast<size_t>(bytes)); }
  void run(const Kernel& kernel, const Problem& problem, const Call& call) override { kernel.run(problem, call); }
};

class PretendDevice final : public Device {
 public:
  using Device::Device;
  Buffer allocate(int64_t bytes) override {
    if (bytes == 0) return {};
    const auto page = static_cast<int64_t>(sysconf(_SC_PAGESIZE));
    const int64_t mapped = (bytes + page - 1) / page * page;
    void* p = mmap(nullptr, static_cast<size_t>(mapped), inside_ ? PROT_READ | PROT_WRITE : PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED) no_memory(id(), bytes);
    mapped_[p] = mapped;
    return {p, bytes, [this](void* data, int64_t) {
              munmap(data, static_cast<size_t>(mapped_[data]));
              mapped_.erase(data);
            }};
  }
  void upload(void* to, const void* host, int64_t bytes) override { std::memcpy(to, host, static_cast<size_t>(bytes)); }
  void download(void* host, const void* from, int64_t bytes) override { std::memcpy(host, from, static_cast<size_t>(bytes)); }
  void run(const Kernel& kernel, const Problem& problem, const Call& call) override { kernel.run(problem, call); }
  void enter() override {
    if (inside_) return;
    inside_ = true;
    for (const auto& [data, size] : mapped_)  // pages become writable here: this is where the system may say it has no more
      if (mprotect(data, static_cast<size_t>(size), PROT_READ | PROT_WRITE) != 0) no_memory(id(), size);
  }
  void leave() noexcept override {
    if (!inside_) return;
    inside_ = false;
    for (const auto& [data, size] : mapped_) mprotect(data, static_cast<size_t>(size), PROT_NONE);
  }

 private:
  std::map<void*, int64_t> mapped_;
  bool inside_ = false;
};

}  // namespace

std::unique_ptr<Device> host_device(int64_t limit) { return std::make_unique<HostDevice>(kHost, limit); }
std::unique_ptr<Device> pretend_device(DeviceId id, int64_t limit) { return std::make_unique<PretendDevice>(std::move(id), limit); }

std::unique_ptr<Device> make_device(std::string_view text) {
  const size_t equals = text.find('=');
  const std::string id(text.substr(0, equals));
  const int64_t limit = equals == std::string_view::npos ? 0 : parse_bytes(text.substr(equals + 1));
  if (limit == 0 && equals != std::string_view::npos) throw Error(ErrorKind::usage, fmt::format("{} has no memory", printable(id)), "--device");
  if (id == kHost) return host_device(limit);
  constexpr std::string_view kPretend = "pretend:";
  if (id.starts_with(kPretend)) {
    int number = -1;
    const char *first = id.data() + kPretend.size(), *last = id.data() + id.size();
    const auto [end, failed] = std::from_chars(first, last, number);
    if (failed == std::errc{} && end == last && number >= 0) {
      if (limit == 0) throw Error(ErrorKind::usage, fmt::format("{} has no size", id), "--device", fmt::format("write {}=4GiB", id));
      return pretend_device(fmt::format("{}{}", kPretend, number), limit);
    }
  }
  throw Error(ErrorKind::usage, fmt::format("no device is called \"{}\"", printable(id)), "--device", "this build has cpu[=SIZE] and pretend:N=SIZE");
}

}  // namespace kerf
