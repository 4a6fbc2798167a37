#include "experiments/resident.h"

#include <sys/resource.h>

#include <algorithm>
#include <cstdio>
#include <fstream>
#include <string>

namespace kerf {

int64_t peak_rss() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return usage.ru_maxrss * 1024;
}

std::optional<int64_t> resident_bytes(std::span<const gguf::File::Mapping> mappings) {
  std::ifstream smaps("/proc/self/smaps");  // proc(5): a line with the range of each mapping, then one for each of its sizes
  if (!smaps) return std::nullopt;
  int64_t bytes = 0, all = 0;
  for (const auto& m : mappings) all += static_cast<int64_t>(m.size);
  bool ours = false;
  for (std::string line; std::getline(smaps, line);) {
    unsigned long long begin = 0, end = 0, kib = 0;
    if (std::sscanf(line.c_str(), "%llx-%llx ", &begin, &end) == 2)
      ours = std::any_of(mappings.begin(), mappings.end(), [&](const auto& m) {  // a mapping may be there in parts
        const auto first = reinterpret_cast<uintptr_t>(m.data);
        return begin >= first && begin < first + m.size;
      });
    else if (ours && std::sscanf(line.c_str(), "Rss: %llu kB", &kib) == 1)
      bytes += static_cast<int64_t>(kib) * 1024;
  }
  return std::min(bytes, all);  // the last page of a file may have more bytes than the file
}

}  // namespace kerf
