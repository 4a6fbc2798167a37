#include "experiments/roof_measure.h"

#include <fmt/format.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <ctime>
#include <fstream>
#include <limits>

#include "core/error.h"
#include "core/text.h"
#include "experiments/roof/loops.h"
#include "experiments/roof_threads.h"

namespace kerf {
namespace {

using Clock = std::chrono::steady_clock;
constexpr int64_t kHugePage = int64_t{2} << 20, kGiB = int64_t{1} << 30;
constexpr int64_t kSliceStep = roof::kReadStep * roof::kMaxStreams;
constexpr int64_t kPrefetch = 2048;  // bytes: as good as any distance up to 8 KiB on the core this was tried on

struct UnitLoop {
  std::string_view name;
  Isa isa;
  std::string_view extension;  // of /proc/cpuinfo, where it is not part of the level; else empty
  double flops;                // of one step
  roof::Spin run;
};
constexpr double kVector = 2.0 * roof::kChains, kInteger = 2.0 * roof::kIntegerChains, kTile = 2.0 * roof::kTileChains;
constexpr std::array<UnitLoop, 10> kUnits{{{"fp32_sse2", Isa::base, "", kVector * 4, roof::fp32_sse2},
                                           {"fp32_avx2", Isa::avx2, "", kVector * 8, roof::fp32_avx2},
                                           {"fp32_avx512", Isa::avx512, "", kVector * 16, roof::fp32_avx512},
                                           {"int8_sse2", Isa::base, "", kInteger * 8, roof::int8_sse2},
                                           {"int8_avx2", Isa::avx2, "", kInteger * 32, roof::int8_avx2},
                                           {"int8_avx512", Isa::avx512, "", kInteger * 64, roof::int8_avx512},
                                           {"int8_vnni", Isa::vnni, "", kVector * 64, roof::int8_vnni},
                                           {"bf16_dot", Isa::avx512, "avx512_bf16", kVector * 32, roof::bf16_dot},
                                           {"bf16_amx", Isa::amx, "", kTile * 16 * 16 * 32, roof::bf16_amx},
                                           {"int8_amx", Isa::amx, "", kTile * 16 * 16 * 64, roof::int8_amx}}};

double median(std::vector<double> v) {
  std::sort(v.begin(), v.end());
  const size_t n = v.size();
  return n % 2 ? v[n / 2] : (v[n / 2 - 1] + v[n / 2]) / 2;
}

/// Whether a loop runs on this processor, whatever CPUID promised. A fault ends only the child.
bool runs(roof::Spin loop) {
  const pid_t child = fork();
  if (child < 0) return false;
  if (child == 0) {
    prctl(PR_SET_DUMPABLE, 0);
    loop(1);
    _exit(0);
  }
  int status = 0;
  while (waitpid(child, &status, 0) < 0)
    if (errno != EINTR) return false;
  return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

/// What loops return goes here, so that no compiler can leave them out.
template <class T>
void keep(T value) {
  volatile T kept = value;
  static_cast<void>(kept);
}

/// Anonymous memory on a 2 MiB boundary, in the pages asked for.
class Buffer {
 public:
  Buffer(int64_t bytes, bool huge) : bytes_(bytes), mapped_(static_cast<size_t>(bytes + kHugePage)) {
    void* p = ::mmap(nullptr, mapped_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (p == MAP_FAILED) throw Error(ErrorKind::memory, fmt::format("no {} for the measurement: {}", human_bytes(bytes), std::strerror(errno)));
    base_ = static_cast<std::byte*>(p);
    data_ = base_ + (kHugePage - static_cast<int64_t>(reinterpret_cast<uintptr_t>(base_) % kHugePage)) % kHugePage;
    ::madvise(data_, static_cast<size_t>(bytes), huge ? MADV_HUGEPAGE : MADV_NOHUGEPAGE);
  }
  ~Buffer() { ::munmap(base_, mapped_); }
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;
  std::byte* data() const { return data_; }
  int64_t bytes() const { return bytes_; }

  /// Slice t of n: whole steps of every reading loop.
  std::span<std::byte> slice(int t, int n) const {
    const int64_t each = bytes_ / n / kSliceStep * kSliceStep;
    return {data_ + t * each, static_cast<size_t>(each)};
  }
  /// Written once, each slice by a thread of its own: an untouched page is the zero page, which lies in the cache.
  void fill(int threads, int value) const {
    time_rounds(threads, 0, 1, [&](int t) {
      const auto part = slice(t, threads);
      std::memset(part.data(), value, part.size());
    });
  }
  /// The part that lies in huge pages (AnonHugePages of /proc/self/smaps).
  double huge_share() const {
    std::ifstream maps("/proc/self/smaps");
    int64_t kib = 0;
    bool inside = false;
    const auto first = reinterpret_cast<uintptr_t>(data_), last = first + static_cast<uintptr_t>(bytes_);
    for (std::string line; std::getline(maps, line);) {
      unsigned long from = 0, to = 0;
      long long n = 0;
      if (std::sscanf(line.c_str(), "%lx-%lx ", &from, &to) == 2) inside = from < last && to > first;
      if (inside && std::sscanf(line.c_str(), "AnonHugePages: %lld kB", &n) == 1) kib += n;
    }
    return std::min(1.0, static_cast<double>(kib) * 1024 / static_cast<double>(bytes_));
  }

 private:
  int64_t bytes_;
  size_t mapped_;
  std::byte* base_ = nullptr;
  std::byte* data_ = nullptr;
};

/// GHz of this core: multiplications of 64 bits take 3 cycles on every x86 core since Nehalem (Fog, instruction tables), and no
/// core renames them away, as some do with additions of constants.
double clock_ghz() {
  uint64_t x = 3, factor = 0x9E3779B97F4A7C15u;
  double best = std::numeric_limits<double>::infinity();
  constexpr int kRounds = 20, kSteps = 1'000'000;
  for (int round = 0; round < kRounds; ++round) {
    __asm__ volatile("" : "+r"(factor));
    const auto start = Clock::now();
    for (int i = 0; i < kSteps; ++i) x *= factor;
    __asm__ volatile("" : "+r"(x));
    best = std::min(best, std::chrono::duration<double>(Clock::now() - start).count());
  }
  return 3.0 * kSteps / best * 1e-9;
}

class Survey {
 public:
  Survey(const RoofOptions& options, const Machine& machine, const std::function<void(int64_t, int64_t)>& progress)
      : options_(options), machine_(machine), progress_(progress) {
    for (const int t : options.threads) figures_.push_back({.threads = t});
  }

  std::vector<RoofFigures> run() {
    // Which share of the time each part gets: reading has the most variants and the longest rounds.
    plan("read", 0.5, [this](double s) { reads(s); });
    plan("caches", 0.12, [this](double s) { caches(s); });
    plan("units", 0.2, [this](double s) { units(s); });
    plan("amx", 0.13, [this](double s) { fed_tiles(s); });
    plan("exp", 0.05, [this](double s) { exps(s); });
    double shares = 0;
    for (const auto& p : parts_) shares += p.share;
    for (const auto& p : parts_) p.measure(options_.seconds * p.share / shares);
    progress_(100, 100);
    return figures_;
  }
  int64_t buffer() const { return buffer_; }  // 0: reading was not measured
  int64_t buffer_wanted() const { return wanted_; }

 private:
  struct Part {
    double share;
    std::function<void(double seconds)> measure;
  };
  void plan(const std::string& name, double share, std::function<void(double)> measure) {
    if (options_.only.empty() || options_.only.contains(name)) parts_.push_back({share, std::move(measure)});
  }
  /// Between measurements: the place where an interrupt ends the survey. Buffers cost some time beyond what was asked for.
  void breathe() const {
    const double spent = std::chrono::duration<double>(Clock::now() - start_).count();
    progress_(std::min<int64_t>(99, static_cast<int64_t>(spent / (options_.seconds * 1.1 + 1) * 100)), 100);
  }
  /// @return bytes for measurements of DRAM: what was asked for, or far beyond the last cache; less if memory is short
  int64_t dram_bytes() {
    wanted_ = options_.buffer > 0 ? options_.buffer : std::max(kGiB, 4 * machine_.l3);
    wanted_ = std::max<int64_t>(wanted_ / kHugePage, 1) * kHugePage;
    const int64_t free = available_memory_bytes();
    const int64_t bytes = free > 0 ? std::min(wanted_, free / 2 / kHugePage * kHugePage) : wanted_;
    if (bytes < kHugePage) throw Error(ErrorKind::memory, fmt::format("{} of memory are free, too little to measure with", human_bytes(free)));
    return bytes;
  }

  roof::Read reader() const {
    return machine_.isa >= Isa::avx512 ? roof::read_avx512 : machine_.isa >= Isa::avx2 ? roof::read_avx2 : roof::read_sse2;
  }

  void reads(double seconds) {
    buffer_ = dram_bytes();
    struct Way {
      int streams;
      int64_t ahead;
    };
    constexpr std::array<Way, 4> kWays{{{1, 0}, {1, kPrefetch}, {roof::kMaxStreams, 0}, {roof::kMaxStreams, kPrefetch}}};
    const double each = seconds / static_cast<double>(2 * kWays.size() * figures_.size());
    const int most = *std::max_element(options_.threads.begin(), options_.threads.end());
    const roof::Read read = reader();
    for (const bool huge : {true, false}) {
      const Buffer buffer(buffer_, huge);
      buffer.fill(most, 1);
      const double share = buffer.huge_share();
      for (auto& f : figures_)
        for (const Way way : kWays) {
          breathe();
          std::vector<double> speeds;
          const int64_t bytes = static_cast<int64_t>(buffer.slice(0, f.threads).size()) * f.threads;
          for (const double s : time_rounds(f.threads, each, 3, [&](int t) {
                 const auto part = buffer.slice(t, f.threads);
                 read(part.data(), static_cast<int64_t>(part.size()), 1, way.streams, way.ahead);
               }))
            speeds.push_back(static_cast<double>(bytes) * 1e-9 / s);
          f.reads.push_back({.pages = huge ? "2 MiB" : "4 KiB",
                             .huge_share = share,
                             .streams = way.streams,
                             .ahead = way.ahead,
                             .median = median(speeds),
                             .min = *std::min_element(speeds.begin(), speeds.end()),
                             .max = *std::max_element(speeds.begin(), speeds.end())});
          f.read = std::max(f.read, f.reads.back().median);
        }
    }
  }

  /// Half of a cache leaves room for the stack and the neighbours. Of the last one, which is shared, each thread takes a
  /// share that is well beyond the level below.
  void caches(double seconds) {
    const double each = seconds / static_cast<double>(3 * figures_.size());
    const roof::Read read = reader();
    for (auto& f : figures_) {
      const int64_t l3 = std::min(machine_.l3 / 4 / f.threads, 16 * machine_.l2);
      const std::array<std::pair<int64_t, double*>, 3> levels{{{machine_.l1d / 2, &f.l1}, {machine_.l2 / 2, &f.l2}, {l3, &f.l3}}};
      for (const auto& [wanted, figure] : levels) {
        const int64_t bytes = wanted / kSliceStep * kSliceStep;
        if (bytes == 0 || (figure == &f.l3 && bytes < 2 * machine_.l2)) continue;
        breathe();
        const Buffer buffer((bytes * f.threads + kHugePage - 1) / kHugePage * kHugePage, true);
        buffer.fill(1, 1);
        const int64_t passes = std::max<int64_t>(1, (int64_t{128} << 20) / bytes);  // a round of a millisecond or more
        const auto rounds = time_rounds(f.threads, each, 3, [&](int t) { read(buffer.data() + t * bytes, bytes, passes, 1, 0); });
        *figure = static_cast<double>(bytes * passes * f.threads) * 1e-9 / median(rounds);
      }
    }
  }

  void units(double seconds) {
    std::vector<const UnitLoop*> present;
    for (const auto& u : kUnits) {
      const bool listed =
          u.extension.empty() || std::find(machine_.features.begin(), machine_.features.end(), u.extension) != machine_.features.end();
      if (machine_.isa >= u.isa && listed && runs(u.run)) present.push_back(&u);
    }
    constexpr int kSweeps = 2;  // what disturbed a unit once is gone when its turn comes again
    const double each = seconds / static_cast<double>(kSweeps * present.size() * figures_.size());
    for (int sweep = 0; sweep < kSweeps; ++sweep)
      for (const UnitLoop* u : present) {
        const int64_t steps = steps_of(u->run);
        for (auto& f : figures_) {
          breathe();
          const auto rounds = time_rounds(f.threads, each, 3, [&](int) { keep(u->run(steps)); });
          const double speed = u->flops * static_cast<double>(steps * f.threads) * 1e-9 / *std::min_element(rounds.begin(), rounds.end());
          double& best = f.units[std::string(u->name)];
          best = std::max(best, speed);
        }
      }
  }

  /// As many steps as take 10 ms: long against a start of threads, short against a tick of the scheduler of 100 Hz.
  static int64_t steps_of(roof::Spin run) {
    for (int64_t steps = 1024;; steps *= 2) {
      const auto start = Clock::now();
      keep(run(steps));
      if (std::chrono::duration<double>(Clock::now() - start).count() > 0.005) return 2 * steps;
    }
  }

  void fed_tiles(double seconds) {
    if (machine_.isa < Isa::amx || !runs(roof::bf16_amx)) return;
    const double each = seconds / static_cast<double>(3 * figures_.size());
    constexpr double kFlops = 4 * 2.0 * 16 * 16 * 32 / 4096;  // for a byte
    const Buffer buffer(dram_bytes(), true);
    buffer.fill(*std::max_element(options_.threads.begin(), options_.threads.end()), 0x3F);  // bf16 0.747
    for (auto& f : figures_) {
      const std::array<std::pair<int64_t, double*>, 3> levels{
          {{machine_.l1d * 2 / 3, &f.amx_l1}, {machine_.l2 / 2, &f.amx_l2}, {buffer.bytes() / f.threads, &f.amx_dram}}};
      for (const auto& [wanted, figure] : levels) {
        const int64_t bytes = std::min(std::max<int64_t>(1, wanted / 4096) * 4096, buffer.bytes() / f.threads / 4096 * 4096);
        breathe();
        const int64_t passes = std::max<int64_t>(1, (int64_t{128} << 20) / bytes);
        const auto rounds = time_rounds(f.threads, each, 3, [&](int t) { keep(roof::bf16_amx_fed(buffer.data() + t * bytes, bytes, passes)); });
        *figure = kFlops * static_cast<double>(bytes * passes * f.threads) * 1e-9 / median(rounds);
      }
    }
  }

  void exps(double seconds) {
    if (machine_.isa < Isa::avx2) return;
    const roof::Exp loop = machine_.isa >= Isa::avx512 ? roof::exp_avx512 : roof::exp_avx2;
    std::vector<float> scores(2048);
    for (size_t i = 0; i < scores.size(); ++i) scores[i] = -20 * static_cast<float>(i) / static_cast<float>(scores.size());
    constexpr int kPasses = 2000;
    for (auto& f : figures_) {
      breathe();
      const auto rounds = time_rounds(f.threads, seconds / static_cast<double>(figures_.size()), 3, [&](int) {
        for (int i = 0; i < kPasses; ++i) keep(loop(scores.data(), static_cast<int64_t>(scores.size())));
      });
      f.exps = static_cast<double>(scores.size()) * kPasses * f.threads * 1e-9 / *std::min_element(rounds.begin(), rounds.end());
    }
  }

  const RoofOptions& options_;
  const Machine& machine_;
  const std::function<void(int64_t, int64_t)>& progress_;
  std::vector<RoofFigures> figures_;
  std::vector<Part> parts_;
  Clock::time_point start_ = Clock::now();
  int64_t buffer_ = 0, wanted_ = 0;
};

std::string now_utc() {
  const std::time_t t = std::time(nullptr);
  std::tm utc{};
  gmtime_r(&t, &utc);
  char text[32];
  return {text, std::strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", &utc)};
}

}  // namespace

Roof measure_roof(const RoofOptions& options, const std::function<void(int64_t, int64_t)>& progress) {
  KERF_CHECK(!options.threads.empty(), "a roof needs a number of threads");
  Roof roof{.machine = identify_machine(), .date = now_utc(), .clock_ghz = clock_ghz()};
  Survey survey(options, roof.machine, progress);
  roof.figures = survey.run();
  roof.buffer = survey.buffer();
  roof.buffer_wanted = survey.buffer_wanted();
  return roof;
}

}  // namespace kerf
