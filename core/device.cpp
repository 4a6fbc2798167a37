#include "core/device.h"

#include <fmt/format.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <cstdlib>
#include <cstring>
#include <optional>

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
  Buffer allocate(int64_t bytes) override { return memory_.allocate(id(), bytes); }
  void upload(void* to, const void* host, int64_t bytes) override { std::memcpy(to, host, static_cast<size_t>(bytes)); }
  void download(void* host, const void* from, int64_t bytes) override { std::memcpy(host, from, static_cast<size_t>(bytes)); }
  void run(const Kernel& kernel, const Problem& problem, const Call& call) override { kernel.run(problem, call); }
  void enter() override { memory_.open(id()); }
  void leave() noexcept override { memory_.close(); }

 private:
  PrivateMemory memory_;
};

/// "KIND:NUMBER=SIZE,OPTION,..." taken apart; nothing if it does not read like that.
std::optional<DeviceSpec> parse_spec(std::string_view text) {
  DeviceSpec spec;
  const std::string_view id = text.substr(0, text.find('='));
  const size_t colon = id.find(':');
  if (colon == std::string_view::npos) return std::nullopt;
  spec.kind = id.substr(0, colon);
  const char *first = id.data() + colon + 1, *last = id.data() + id.size();
  const auto [end, failed] = std::from_chars(first, last, spec.number);
  if (failed != std::errc{} || end != last || spec.number < 0) return std::nullopt;
  if (id.size() == text.size()) return spec;
  std::string_view rest = text.substr(id.size() + 1);
  spec.limit = parse_bytes(rest.substr(0, rest.find(',')));
  if (spec.limit == 0) throw Error(ErrorKind::usage, fmt::format("{} has no memory", printable(id)), "--device");
  while (rest.find(',') != std::string_view::npos) {
    rest.remove_prefix(rest.find(',') + 1);
    spec.options.emplace_back(rest.substr(0, rest.find(',')));
  }
  return spec;
}

}  // namespace

std::unique_ptr<Device> host_device(int64_t limit) { return std::make_unique<HostDevice>(kHost, limit); }
std::unique_ptr<Device> pretend_device(DeviceId id, int64_t limit) { return std::make_unique<PretendDevice>(std::move(id), limit); }

DeviceId DeviceSpec::id() const { return fmt::format("{}:{}", kind, number); }

std::unique_ptr<Device> make_device(std::string_view text, std::span<const DeviceKind> kinds) {
  const std::string_view name = text.substr(0, text.find('='));
  if (name == kHost) {
    const int64_t limit = name.size() == text.size() ? 0 : parse_bytes(text.substr(name.size() + 1));
    if (limit == 0 && name.size() != text.size()) throw Error(ErrorKind::usage, fmt::format("{} has no memory", name), "--device");
    return host_device(limit);
  }
  if (const auto spec = parse_spec(text)) {
    if (spec->kind == "pretend") {
      if (spec->limit == 0)
        throw Error(ErrorKind::usage, fmt::format("{} has no size", spec->id()), "--device", fmt::format("write {}=4GiB", spec->id()));
      if (!spec->options.empty())
        throw Error(ErrorKind::usage, fmt::format("{} has no option \"{}\"", spec->id(), printable(spec->options[0])), "--device");
      return pretend_device(spec->id(), spec->limit);
    }
    for (const auto& kind : kinds)
      if (kind.name == spec->kind) return kind.make(*spec);
  }
  std::string known = "cpu[=SIZE] and pretend:N=SIZE";
  for (const auto& kind : kinds) known = fmt::format("{}, {}", kind.syntax, known);
  throw Error(ErrorKind::usage, fmt::format("no device is called \"{}\"", printable(name)), "--device", "this build has " + known);
}

Buffer PrivateMemory::allocate(const DeviceId& id, int64_t bytes) {
  if (bytes == 0) return {};
  const auto page = static_cast<int64_t>(sysconf(_SC_PAGESIZE));
  const int64_t mapped = (bytes + page - 1) / page * page;
  void* p = mmap(nullptr, static_cast<size_t>(mapped), open_ ? PROT_READ | PROT_WRITE : PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (p == MAP_FAILED) no_memory(id, bytes);
  mapped_.push_back({p, mapped});
  return {p, bytes, [this](void* data, int64_t) {
            const auto m = std::find_if(mapped_.begin(), mapped_.end(), [&](const Mapping& x) { return x.data == data; });
            munmap(data, static_cast<size_t>(m->size));
            mapped_.erase(m);
          }};
}

void PrivateMemory::open(const DeviceId& id) {
  if (open_) return;
  open_ = true;
  for (const auto& [data, size] : mapped_)  // pages become writable here: this is where the system may say it has no more
    if (mprotect(data, static_cast<size_t>(size), PROT_READ | PROT_WRITE) != 0) no_memory(id, size);
}

void PrivateMemory::close() noexcept {
  if (!open_) return;
  open_ = false;
  for (const auto& [data, size] : mapped_) mprotect(data, static_cast<size_t>(size), PROT_NONE);
}

}  // namespace kerf
