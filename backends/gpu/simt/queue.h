// Where kernels of an emulated GPU are launched: the counterpart of a stream. Launches run at once, their blocks spread over
// the threads of the pool.
#pragma once
#include <memory>
#include <mutex>
#include <vector>

#include "backends/gpu/simt/block.h"
#include "core/device.h"
#include "core/kernel.h"
#include "core/threadpool.h"

namespace kerf::simt {

class Queue final : public DeviceQueue {
 public:
  struct Options {
    Target target{};
    Order order{};
  };
  explicit Queue(Options options) : options_(options) {}

  /// Runs `kernel` once for each thread of each block. @throws Error(runtime) that names the kernel, its shape and the device
  void launch(const LaunchShape& shape, const std::function<void()>& kernel, ThreadPool& pool);
  /// What `steps` launch, without running it.
  std::unique_ptr<Recording> record(const std::function<void()>& steps);
  const Counters& counters() const { return counters_; }
  const Options& options() const { return options_; }

 private:
  struct Launched {
    LaunchShape shape{};
    std::function<void()> kernel{};
    ThreadPool* pool = nullptr;
  };
  class Tape;
  void execute(const Launched& launched);
  std::unique_ptr<Block> take_block();
  Options options_;
  Counters counters_;
  Tape* tape_ = nullptr;                        // while it records
  std::mutex mutex_;                            // of the two below
  std::vector<std::unique_ptr<Block>> blocks_;  // that no thread runs; kept, as their stacks are mapped once
};

}  // namespace kerf::simt
