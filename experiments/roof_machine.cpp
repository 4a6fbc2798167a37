#include "experiments/roof_machine.h"

#include <algorithm>
#include <array>
#include <cstdlib>
#include <fstream>
#include <set>
#include <sstream>

namespace kerf {
namespace {

constexpr std::array<std::string_view, 1> kBase{"sse2"};
constexpr std::array<std::string_view, 3> kAvx2{"avx2", "fma", "f16c"};
constexpr std::array<std::string_view, 5> kAvx512{"avx512f", "avx512cd", "avx512bw", "avx512dq", "avx512vl"};
constexpr std::array<std::string_view, 1> kVnni{"avx512_vnni"};
constexpr std::array<std::string_view, 7> kAmx{"amx_tile", "amx_bf16", "amx_int8", "avx512vbmi", "avx512_vbmi2", "avx512_bf16", "avx512_fp16"};
constexpr std::array kLevels{Isa::base, Isa::avx2, Isa::avx512, Isa::vnni, Isa::amx};

std::string trimmed(const std::string& text) {
  const size_t first = text.find_first_not_of(" \t"), last = text.find_last_not_of(" \t");
  return first == std::string::npos ? "" : text.substr(first, last - first + 1);
}

/// "48K" -> 49152; 0 for what is no size.
int64_t cache_size(const std::string& text) {
  char* unit = nullptr;
  const int64_t n = std::strtoll(text.c_str(), &unit, 10);
  return n * (*unit == 'K' ? 1024 : *unit == 'M' ? 1024 * 1024 : *unit == 'G' ? 1024 * 1024 * 1024 : 1);
}

std::string first_word(const std::string& path) {
  std::ifstream file(path);
  std::string word;
  file >> word;
  return word;
}

void read_cpuinfo(Machine& m) {
  std::ifstream info("/proc/cpuinfo");
  std::set<std::string> flags;
  for (std::string line; std::getline(info, line);) {
    const size_t colon = line.find(':');
    if (colon == std::string::npos) continue;
    const std::string key = trimmed(line.substr(0, colon)), value = trimmed(line.substr(colon + 1));
    if (key == "processor") ++m.cores;
    if (m.cores > 1) continue;  // the first one speaks for all
    if (key == "model name") m.cpu = value;
    if (key == "cpu family") m.family = std::atoi(value.c_str());
    if (key == "model") m.model = std::atoi(value.c_str());
    if (key == "stepping") m.stepping = std::atoi(value.c_str());
    if (key == "flags") {
      std::istringstream words(value);
      for (std::string word; words >> word;) flags.insert(word);
    }
  }
  for (const Isa level : kLevels)
    for (const auto name : extensions_of(level))
      if (flags.contains(std::string(name))) m.features.emplace_back(name);
}

void read_caches(Machine& m) {
  for (int i = 0; i < 16; ++i) {
    const std::string folder = "/sys/devices/system/cpu/cpu0/cache/index" + std::to_string(i) + "/";
    const std::string level = first_word(folder + "level"), type = first_word(folder + "type");
    const int64_t bytes = cache_size(first_word(folder + "size"));
    if (level == "1" && type == "Data") m.l1d = bytes;
    if (level == "2" && type != "Instruction") m.l2 = bytes;
    if (level == "3" && type != "Instruction") m.l3 = bytes;
  }
}

}  // namespace

std::span<const std::string_view> extensions_of(Isa isa) {
  switch (isa) {
    case Isa::base:
      return kBase;
    case Isa::avx2:
      return kAvx2;
    case Isa::avx512:
      return kAvx512;
    case Isa::vnni:
      return kVnni;
    case Isa::amx:
      return kAmx;
  }
  return {};
}

Machine identify_machine() {
  Machine m;
  read_cpuinfo(m);
  m.cores = std::max(m.cores, 1);
  read_caches(m);
  m.isa = detect_isa();
  return m;
}

LoadAverage load_average() {
  LoadAverage load;
  std::ifstream("/proc/loadavg") >> load.one >> load.five >> load.fifteen;
  return load;
}

int64_t available_memory_bytes() {
  std::ifstream info("/proc/meminfo");
  std::string key, unit;
  for (int64_t kib = 0; info >> key >> kib >> unit;)
    if (key == "MemAvailable:") return kib * 1024;
  return 0;
}

}  // namespace kerf
