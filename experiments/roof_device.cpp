#include "experiments/roof_device.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>

#include "backends/backends.h"
#include "core/error.h"
#include "core/threadpool.h"

namespace kerf {
namespace {

using Clock = std::chrono::steady_clock;
constexpr int64_t kBuffer = int64_t{1} << 30;
constexpr double kBatch = 0.002;  // seconds of launches between two waits, which cost about 10 us

/// Seconds of one run, once per batch of runs.
std::vector<double> time_runs(Device& device, const Probe& probe, const Problem& p, const Call& call, double budget) {
  std::vector<double> seconds;
  int runs = 1;
  const auto batch = [&] {
    const auto start = Clock::now();
    for (int i = 0; i < runs; ++i) device.run(probe.kernel, p, call);
    device.wait();
    return std::chrono::duration<double>(Clock::now() - start).count() / runs;
  };
  const double first = batch();  // also loads the code: not counted, unless it is all there is time for
  if (first > budget) return {first};
  runs = std::clamp(static_cast<int>(kBatch / batch()), 1, 1000);
  for (const auto start = Clock::now(); seconds.size() < 3 || std::chrono::duration<double>(Clock::now() - start).count() < budget;)
    seconds.push_back(batch());
  std::sort(seconds.begin(), seconds.end());
  return seconds;
}

}  // namespace

DeviceRoof measure_device(Device& device, double seconds, int64_t buffer, const std::function<void(int64_t, int64_t)>& progress) {
  const DeviceKind* kind = nullptr;
  for (const auto& k : device_kinds())
    if (k.name == kind_of(device.id())) kind = &k;
  if (!kind || !kind->probes) throw Error(ErrorKind::usage, fmt::format("{} has no probes", device.id()), "--device");
  DeviceRoof roof{.device = device.id(), .buffer = buffer > 0 ? buffer : std::min(kBuffer, device.limit() / 4)};
  roof.buffer = std::max(roof.buffer, kLayoutBytes) / 4096 * 4096;
  device.enter();
  const Buffer memory = device.allocate(roof.buffer);
  const std::vector<std::byte> zeros(static_cast<size_t>(std::min<int64_t>(roof.buffer, 1 << 20)));
  for (int64_t done = 0; done < roof.buffer; done += static_cast<int64_t>(zeros.size()))
    device.upload(memory.data() + done, zeros.data(), std::min(static_cast<int64_t>(zeros.size()), roof.buffer - done));
  const TensorView view{vector_of(DType::f32, roof.buffer / 4), memory.data()};
  const Problem p{.op = Add{}, .in = {view.desc}};
  ThreadPool pool(usable_cores());
  const Call call{.in = {&view, 1}, .pool = pool};
  const auto probes = kind->probes();
  for (size_t i = 0; i < probes.size(); ++i) {
    const Probe& probe = probes[i];
    progress(static_cast<int64_t>(i), static_cast<int64_t>(probes.size()));
    if (probe.kernel.op == kLayoutProbe) {
      device.run(probe.kernel, p, call);
      roof.layout.resize(kLayoutBytes / 4);
      device.download(roof.layout.data(), memory.data(), kLayoutBytes);
      continue;
    }
    const auto times = time_runs(device, probe, p, call, seconds / static_cast<double>(probes.size()));
    const double median = times[times.size() / 2];
    const double flops = probe.blocks ? static_cast<double>(probe.flops_per_block) * probe.blocks(roof.buffer) : 0;
    roof.figures.push_back({.name = std::string(probe.kernel.op),
                            .note = std::string(probe.kernel.note),
                            .gb_per_s = probe.bytes * static_cast<double>(roof.buffer) * 1e-9 / median,
                            .gflop_per_s = flops * 1e-9 / median,
                            .runs = static_cast<int>(times.size())});
  }
  progress(static_cast<int64_t>(probes.size()), static_cast<int64_t>(probes.size()));
  device.leave();
  return roof;
}

}  // namespace kerf
