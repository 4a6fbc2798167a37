#include "backends/gpu/simt/queue.h"

#include <fmt/format.h>

#include "core/error.h"

namespace kerf::simt {
namespace {

/// Which of n blocks begins as the i-th one.
int64_t turn(const Order& order, int64_t i, int64_t n) {
  switch (order.schedule) {
    case Schedule::forward:
      return i;
    case Schedule::reverse:
      return n - 1 - i;
    case Schedule::random:
      return static_cast<int64_t>((static_cast<uint64_t>(i) + order.seed) % static_cast<uint64_t>(n));
  }
  return i;
}

}  // namespace

std::unique_ptr<Block> Queue::take_block() {
  const std::lock_guard lock(mutex_);
  if (blocks_.size() < watch::kUnordered) return std::make_unique<Block>();
  auto block = std::move(blocks_.front());
  blocks_.erase(blocks_.begin());
  return block;
}

class Queue::Tape final : public Recording {
 public:
  explicit Tape(Queue& queue) : queue_(queue) {}
  void replay() override {
    for (const auto& l : launched_) queue_.execute(l);
  }
  const std::vector<LaunchedKernel>& launches() const override { return launches_; }
  void add(Launched l) {
    const LaunchShape& s = l.shape;
    launches_.push_back(
        {.function = std::string(s.kernel), .blocks = {s.blocks.x, s.blocks.y, s.blocks.z}, .threads = s.threads, .shared = s.shared});
    launched_.push_back(std::move(l));
  }

 private:
  Queue& queue_;
  std::vector<Launched> launched_;
  std::vector<LaunchedKernel> launches_;
};

std::unique_ptr<Recording> Queue::record(const std::function<void()>& steps) {
  auto tape = std::make_unique<Tape>(*this);
  tape_ = tape.get();
  try {
    steps();
  } catch (...) {
    tape_ = nullptr;
    throw;
  }
  tape_ = nullptr;
  return tape;
}

void Queue::launch(const LaunchShape& shape, const std::function<void()>& kernel, ThreadPool& pool) {
  if (tape_)
    tape_->add({shape, kernel, &pool});
  else
    execute({shape, kernel, &pool});
}

void Queue::execute(const Launched& launched) {
  const LaunchShape& shape = launched.shape;
  const auto where = [&] {
    return fmt::format("kernel {} ({}x{}x{} blocks of {} threads, {} bytes of dynamic shared memory)", shape.kernel, shape.blocks.x, shape.blocks.y,
                       shape.blocks.z, shape.threads, shape.shared);
  };
  const Target& target = options_.target;
  const Index3 b = shape.blocks;
  if (shape.threads < 1 || shape.threads > target.threads)
    throw Error(ErrorKind::runtime, fmt::format("a block of {} has 1 to {} threads", target.name, target.threads), where());
  if (b.x < 1 || b.y < 1 || b.z < 1 || b.x > target.blocks.x || b.y > target.blocks.y || b.z > target.blocks.z)
    throw Error(ErrorKind::runtime,
                fmt::format("a grid of {} has 1 to {}x{}x{} blocks", target.name, target.blocks.x, target.blocks.y, target.blocks.z), where());
  char begun = 0, ended = 0;
  watch::release(&begun);
  try {
    const int64_t n = int64_t{b.x} * b.y * b.z;
    launched.pool->parallel_for(n, [&](int64_t t) {
      const int64_t i = turn(options_.order, t, n);
      const Index3 index{static_cast<unsigned>(i % b.x), static_cast<unsigned>(i / b.x % b.y), static_cast<unsigned>(i / b.x / b.y)};
      auto block = take_block();
      Counters counters;
      block->run({.shape = shape, .target = target, .order = options_.order, .kernel = launched.kernel, .begun = &begun, .ended = &ended}, index,
                 counters);
      const std::lock_guard lock(mutex_);
      blocks_.push_back(std::move(block));
      counters_.blocks += counters.blocks;
      counters_.switches += counters.switches;
      counters_.barriers += counters.barriers;
      counters_.together += counters.together;
    });
  } catch (const Error& e) {
    watch::acquire(&ended);
    throw Error(e.kind, e.message, e.where.empty() ? where() : fmt::format("{}, {}", e.where, where()));
  }
  watch::acquire(&ended);
  ++counters_.launches;
}

}  // namespace kerf::simt
