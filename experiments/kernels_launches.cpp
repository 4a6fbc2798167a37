// kerf kernels launches: what a kernel of a GPU launches for a problem - functions, blocks, threads, shared memory - and what the problem
// costs at least. Nothing is run: the launch follows from the problem's shape alone.
#include <fmt/format.h>
#include <sys/mman.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <nlohmann/json.hpp>

#include "backends/backends.h"
#include "core/cost.h"
#include "core/error.h"
#include "core/text.h"
#include "core/threadpool.h"
#include "experiments/bench_problems.h"
#include "experiments/kernels_command.h"

namespace kerf {
namespace {

/// Addresses for tensors that nobody reads or writes.
class Addresses {
 public:
  explicit Addresses(int64_t bytes) : bytes_(static_cast<size_t>(bytes)) {
    void* p = ::mmap(nullptr, bytes_, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (p == MAP_FAILED) throw Error(ErrorKind::memory, fmt::format("no {} of addresses for tensors: {}", human_bytes(bytes), std::strerror(errno)));
    next_ = begin_ = static_cast<std::byte*>(p);
  }
  ~Addresses() { ::munmap(begin_, bytes_); }
  Addresses(const Addresses&) = delete;
  Addresses& operator=(const Addresses&) = delete;
  std::byte* take(int64_t bytes) { return std::exchange(next_, next_ + device_aligned(bytes)); }

 private:
  size_t bytes_;
  std::byte *begin_ = nullptr, *next_ = nullptr;
};

std::vector<LaunchedKernel> launches_of(const Kernel& kernel, const Problem& p, Device& device, ThreadPool& pool) {
  const auto scratch = static_cast<int64_t>(kernel.scratch(p));
  int64_t bytes = device_aligned(scratch) + kDeviceAlignment;
  for (const auto& d : p.in) bytes += device_aligned(d.bytes());
  for (const auto& d : p.out) bytes += device_aligned(d.bytes());
  Addresses addresses(bytes);
  std::vector<TensorView> in, out;
  for (const auto& d : p.in) in.push_back({d, addresses.take(d.bytes())});
  for (size_t i = 0; i < p.out.size(); ++i) {
    const auto from = alias_of(p.op, i);
    out.push_back({p.out[i], from ? in[*from].data : addresses.take(p.out[i].bytes())});
  }
  const Call call{in, out, {addresses.take(scratch), static_cast<size_t>(scratch)}, pool};
  const auto recording = device.record([&] { device.run(kernel, p, call); });
  if (!recording)
    throw Error(ErrorKind::usage, fmt::format("{} launches nothing: its kernels are functions of the host", device.id()), "--device",
                "emu:0=1GiB has kernels of GPUs");
  return recording->launches();
}

constexpr const char* kLine = "{:<34} {:<66} {:>12} {:>14}  {}\n";

std::string text_of(const LaunchedKernel& l) {
  std::string blocks = fmt::format("{}", l.blocks[0]);
  if (l.blocks[1] * l.blocks[2] > 1) blocks += fmt::format("x{}", l.blocks[1]);
  if (l.blocks[2] > 1) blocks += fmt::format("x{}", l.blocks[2]);
  return fmt::format("{} {} x {}{}", l.function, blocks, l.threads, l.shared > 0 ? fmt::format(" + {} B", l.shared) : "");
}

}  // namespace

int kernels_launches(const KernelArgs& args, const Registry& registry, const Io& io) {
  const bench::WeightShape shape = bench::parse_shape(args.shape);
  if (std::none_of(registry.all().begin(), registry.all().end(), [&](const Kernel& k) { return name_matches(k.name(), args.filter); }))
    no_name_matches(args);
  const auto device = make_device(args.device.empty() ? "emu:0=1GiB" : args.device, device_kinds());
  device->enter();
  ThreadPool pool(1);
  nlohmann::json rows = nlohmann::json::array();
  std::string table = fmt::format("{}; attention with {} positions in the cache\n", device->id(), bench::kDepth);
  table += fmt::format(kLine, "kernel", "problem", "bytes", "flops", "launches: blocks x threads + dynamic shared memory");
  for (const auto& k : registry.all()) {
    if (!name_matches(k.name(), args.filter) || !runs_on(k.backend, device->id())) continue;
    for (const auto& p : bench::problems_of(k.op, shape, args.tokens)) {
      if (!k.accepts(p)) continue;
      const auto launches = launches_of(k, p, *device, pool);
      const Cost least = cost(p, bench::depth_of(p));
      const std::string what = to_text(p);
      nlohmann::json list = nlohmann::json::array();
      std::string text;
      for (const auto& l : launches) {
        list.push_back({{"function", l.function}, {"blocks", l.blocks}, {"threads", l.threads}, {"dynamic_shared_bytes", l.shared}});
        text += (text.empty() ? "" : ", ") + text_of(l);
      }
      table += fmt::format(kLine, k.name(), what.substr(what.find(": ") + 2), least.bytes, least.flops, text);
      rows.push_back(
          {{"kernel", k.name()}, {"problem", what}, {"tokens", p.in[0].rows()}, {"bytes", least.bytes}, {"flops", least.flops}, {"launches", list}});
    }
  }
  if (rows.empty())
    throw Error(ErrorKind::usage, fmt::format("no such kernel runs on {}", device->id()), "--device", "kerf kernels list shows where kernels run");
  if (io.json)
    io.out_json({{"schema", 1}, {"device", device->id()}, {"rows", rows}});
  else
    io.out(table);
  return 0;
}

}  // namespace kerf
