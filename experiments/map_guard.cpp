#include "experiments/map_guard.h"

#include <sys/mman.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <csignal>
#include <cstdint>
#include <cstring>
#include <string>

#include "core/error.h"

namespace kerf {
namespace {

constexpr size_t kMaxRanges = 256;  // splits of one model

struct Range {
  uintptr_t begin = 0, end = 0;
};
struct Watched {
  std::array<Range, kMaxRanges> ranges{};
  std::array<std::string, kMaxRanges> paths{};
  size_t count = 0;
  uintptr_t page = 4096;
  std::atomic<uintptr_t> lost{0};
  struct sigaction before {};
};
Watched watched;  // reached from the signal handler

void on_sigbus(int, siginfo_t* info, void*) {
  const auto at = reinterpret_cast<uintptr_t>(info->si_addr);
  for (size_t i = 0; i < watched.count; ++i) {
    if (at < watched.ranges[i].begin || at >= watched.ranges[i].end) continue;
    void* page = reinterpret_cast<void*>(at / watched.page * watched.page);
    if (mmap(page, watched.page, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == page) {
      uintptr_t none = 0;
      watched.lost.compare_exchange_strong(none, at);
      return;  // the load repeats and reads zeros; check() tells the run
    }
  }
  sigaction(SIGBUS, &watched.before, nullptr);  // not ours: the access faults again with the usual effect
}

}  // namespace

MapGuard::MapGuard(const std::vector<gguf::File::Mapping>& mappings) {
  watched.page = static_cast<uintptr_t>(sysconf(_SC_PAGESIZE));
  watched.count = 0;
  watched.lost = 0;
  for (const auto& m : mappings) {
    if (watched.count == kMaxRanges) break;
    const auto begin = reinterpret_cast<uintptr_t>(m.data);
    watched.ranges[watched.count] = {begin, begin + m.size};
    watched.paths[watched.count++] = m.path;
  }
  struct sigaction action {};
  action.sa_sigaction = on_sigbus;
  action.sa_flags = SA_SIGINFO | SA_NODEFER;
  sigemptyset(&action.sa_mask);
  sigaction(SIGBUS, &action, &watched.before);
}

MapGuard::~MapGuard() {
  sigaction(SIGBUS, &watched.before, nullptr);
  watched.count = 0;
}

void MapGuard::check() const {
  const uintptr_t lost = watched.lost.load(std::memory_order_relaxed);
  if (lost == 0) return;
  for (size_t i = 0; i < watched.count; ++i) {
    const Range& r = watched.ranges[i];
    if (lost >= r.begin && lost < r.end)
      throw FileError({.path = watched.paths[i],
                       .offset = lost - r.begin,
                       .field = "mapped data",
                       .expected = "the bytes that were there when the file was opened",
                       .found = "none: the file was truncated while in use",
                       .hint = "restore the file and start again, or use --no-mmap"});
  }
}

}  // namespace kerf
