#include "backends/gpu/simt/block.h"

#include <fmt/format.h>
#include <sys/mman.h>

#include <algorithm>
#include <bit>
#include <cstring>
#include <numeric>
#include <optional>
#include <utility>

#include "core/error.h"

namespace kerf::simt {
namespace {

constexpr size_t kPage = 4096;
constexpr size_t kStack = 128 << 10;  // ASan's frames are several times as large as others
constexpr size_t kArena = 256 << 10;
constexpr size_t kRedZone = 32;
constexpr int kUndefined = 0xFF;  // NaN as f32 and f16, -1 as an integer

thread_local Block* t_block = nullptr;

std::string text(Where where) {
  const std::string_view path = where.file;
  return fmt::format("{}:{}", path.substr(path.rfind('/') + 1), where.line);
}

/// A name is mostly one string of one object file: its characters are looked at only if it is not.
bool same(Where a, Where b) { return a.line == b.line && (a.file == b.file || std::string_view(a.file) == b.file); }

std::byte* map(size_t bytes) {
  void* p = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (p == MAP_FAILED) throw Error(ErrorKind::memory, fmt::format("cannot map {} bytes for the threads of a block", bytes), "emulated GPU");
  return static_cast<std::byte*>(p);
}

}  // namespace

Block::Block() : stacks_(map(kMaxThreads * kStack)), arena_(map(kArena)), entry_([this] { main(); }) {}

Block::~Block() {
  allow(stacks_, kMaxThreads * kStack);
  allow(arena_, kArena);
  munmap(stacks_, kMaxThreads * kStack);
  munmap(arena_, kArena);
}

Block& Block::current() {
  KERF_CHECK(t_block, "a GPU word outside of a kernel");
  return *t_block;
}

void Block::run(const Launch& launch, Index3 index, Counters& counters) {
  const watch::Blind blind;
  launch_ = &launch;
  t_block = this;
  begin(index);
  std::vector<unsigned> order(launch.shape.threads);
  std::iota(order.begin(), order.end(), 0u);
  if (launch.order.schedule == Schedule::reverse) std::reverse(order.begin(), order.end());
  random_.seed(launch.order.seed + index.x + (uint64_t{index.y} << 32) + (uint64_t{index.z} << 48));
  std::exception_ptr stuck;
  try {
    while (live_ > 0 && !failure_) schedule(order);
  } catch (...) {
    stuck = std::current_exception();
  }
  t_block = nullptr;
  if (failure_ || stuck) abandon();
  counters.switches += counters_.switches;
  counters.barriers += counters_.barriers;
  counters.together += counters_.together;
  ++counters.blocks;
  if (failure_) std::rethrow_exception(std::exchange(failure_, nullptr));
  if (stuck) std::rethrow_exception(stuck);
}

void Block::begin(Index3 index) {
  index_ = index;
  counters_ = {};
  failure_ = nullptr;
  live_ = launch_->shape.threads;
  waiting_ = 0;
  together_ = done_ = {};
  barriers_ = 0;
  arrays_.clear();
  arena_used_ = 0;
  shared_taken_ = 0;
  forbid(arena_, kArena);
  dynamic_ = launch_->shape.shared ? take_shared(launch_->shape.shared, 128, "dynamic shared memory") : nullptr;
  while (threads_.size() < launch_->shape.threads) {
    auto& t = threads_.emplace_back(std::make_unique<Thread>());
    t->stack = stacks_ + (threads_.size() - 1) * kStack;
    mprotect(t->stack, kPage, PROT_NONE);  // a stack that is too small faults
  }
  for (unsigned i = 0; i < launch_->shape.threads; ++i) {
    Thread& t = *threads_[i];
    t.state = State::ready;
    t.copies.clear();
    t.groups = 0;
    t.fiber.start(t.stack + kPage, kStack - kPage, entry_);
  }
}

/// One turn for each thread that can go on.
void Block::schedule(std::vector<unsigned>& order) {
  if (launch_->order.schedule == Schedule::random) std::shuffle(order.begin(), order.end(), random_);
  bool moved = false;
  for (const unsigned i : order) {
    if (threads_[i]->state != State::ready) continue;
    moved = true;
    current_ = i;
    ++counters_.switches;
    threads_[i]->fiber.resume();
    if (failure_) return;
  }
  if (!moved) fail("dead-lock: " + waiting());
}

/// The threads that have not returned never will: what they did is over.
void Block::abandon() {
  for (unsigned i = 0; i < launch_->shape.threads; ++i)
    if (threads_[i]->state != State::done) threads_[i]->fiber.release(launch_->ended);
  watch::acquire(launch_->ended);
}

/// What each fiber runs.
void Block::main() {
  watch::acquire(launch_->begun);
  watch::acquire(&reuse_token_);
  try {
    launch_->kernel();
    copy_wait(0);
  } catch (...) {
    if (!failure_) failure_ = std::current_exception();
  }
  watch::release(&reuse_token_);
  watch::release(launch_->ended);
  finish();
}

void Block::finish() {
  const watch::Blind blind;
  threads_[current_]->state = State::done;
  done_[current_ / 64] |= uint64_t{1} << current_ % 64;
  --live_;
}

void Block::pause() {
  Thread& t = *threads_[current_];
  const unsigned self = current_;
  {
    const watch::Seeing seeing;
    t.fiber.pause();
  }
  current_ = self;
}

void Block::barrier(Where where) {
  char* token = nullptr;
  {
    const watch::Blind blind;
    token = &barrier_tokens_[barriers_ % 2];
  }
  watch::release(token);
  {
    const watch::Blind blind;
    Thread& t = *threads_[current_];
    if (live_ != launch_->shape.threads)
      fail(fmt::format("block_sync at {} by {} after another thread of the block returned", text(where), name_of(current_)));
    t.where = where;
    t.state = State::at_barrier;
    if (++waiting_ == live_)
      release_barrier();
    else
      pause();
  }
  watch::acquire(token);
}

void Block::release_barrier() {
  for (unsigned i = 1; i < launch_->shape.threads; ++i)
    if (!same(threads_[i]->where, threads_[0]->where))
      fail(fmt::format("divergent barrier: {} waits at {}, {} at {}", name_of(0), text(threads_[0]->where), name_of(i), text(threads_[i]->where)));
  for (unsigned i = 0; i < launch_->shape.threads; ++i) threads_[i]->state = State::ready;
  waiting_ = 0;
  ++barriers_;
  ++counters_.barriers;
}

void Block::together(const Together& request, unsigned lanes) {
  const unsigned first = thread() / lanes * lanes;
  if (request.orders_memory) watch::release(&group_tokens_[first / 32]);
  {
    const watch::Blind blind;
    const unsigned present = std::min(lanes, launch_->shape.threads - first), lane = current_ - first;
    const auto all = [](unsigned n) { return n == 64 ? ~uint64_t{0} : (uint64_t{1} << n) - 1; };
    const auto say = [&](const Together& r) { return fmt::format("{} at {} for lanes {:#x}", r.name, text(r.where), r.mask); };
    if (!(request.mask >> lane & 1)) fail(fmt::format("{}: {} is not one of them", say(request), name_of(current_)));
    if ((request.needs_all || request.mask != all(lanes)) && (request.mask & ~all(present)) != 0)
      fail(fmt::format("{}: the block of {} ends before", say(request), name_of(current_)));
    Thread& t = *threads_[current_];
    const unsigned word = first / 64, shift = first % 64;
    const uint64_t others = request.mask & all(present) & ~(uint64_t{1} << lane);
    if (const uint64_t gone = others & done_[word] >> shift)
      fail(fmt::format("{} by {}: {} has returned", say(request), name_of(current_), name_of(first + static_cast<unsigned>(std::countr_zero(gone)))));
    const uint64_t waiting = others & together_[word] >> shift;
    bool complete = waiting == others;
    // The last to arrive looks at all of them; the others at two, as most mistakes are seen there.
    for (uint64_t left = complete ? waiting : (waiting & -waiting) | std::bit_floor(waiting); left != 0; left &= left - 1) {
      const unsigned l = static_cast<unsigned>(std::countr_zero(left));
      const Thread& other = *threads_[first + l];
      if (!(other.request.mask >> lane & 1))  // busy with lanes of which this is none
        complete = false;
      else if (other.request.mask != request.mask || other.request.execute != request.execute || !same(other.request.where, request.where))
        fail(fmt::format("lanes that differ: {} does {}, {} does {}", name_of(current_), say(request), name_of(first + l), say(other.request)));
    }
    t.request = request;
    t.state = State::together;
    together_[word] |= uint64_t{1} << (shift + lane);
    if (!complete) {
      pause();
    } else {
      std::array<void*, 64> data{};
      for (unsigned l = 0; l < present; ++l)
        if (request.mask >> l & 1) data[l] = threads_[first + l]->request.data;
      if (request.execute) request.execute(data.data(), lanes);
      for (unsigned l = 0; l < present; ++l)
        if (request.mask >> l & 1) threads_[first + l]->state = State::ready;
      together_[word] &= ~((request.mask & all(present)) << shift);
      ++counters_.together;
    }
  }
  if (request.orders_memory) watch::acquire(&group_tokens_[first / 32]);
}

std::byte* Block::take_shared(size_t bytes, size_t alignment, const char* name) {
  shared_taken_ += static_cast<int64_t>(bytes);
  if (shared_taken_ > launch_->target.shared)
    fail(fmt::format("{} takes shared memory to {} bytes, {} has {}", name, shared_taken_, launch_->target.name, launch_->target.shared));
  const size_t unit = std::max(alignment, kRedZone);
  const size_t before = arena_used_, at = (before + kRedZone + unit - 1) / unit * unit;
  arena_used_ = at + bytes;
  KERF_CHECK(arena_used_ + kRedZone <= kArena, "the arena of an emulated block is too small");
  allow(arena_ + before, arena_used_ + kRedZone - before);
  std::memset(arena_ + before, kUndefined, arena_used_ + kRedZone - before);
  make_undefined(arena_ + before, arena_used_ + kRedZone - before);
  forbid(arena_ + before, at - before);
  forbid(arena_ + arena_used_, kRedZone);
  return arena_ + at;
}

void* Block::shared(const void* key, size_t bytes, size_t alignment, const char* name) {
  const watch::Blind blind;
  for (const auto& a : arrays_)
    if (a.key == key) return a.bytes;
  arrays_.push_back({key, name, take_shared(bytes, alignment, name)});
  return arrays_.back().bytes;
}

void Block::need_aligned(const void* address, size_t alignment, std::string_view name) const {
  if (reinterpret_cast<uintptr_t>(address) % alignment != 0)
    fail(fmt::format("{} by {}: an address is no multiple of {}", name, name_of(current_), alignment));
}

void Block::copy_async(void* to, const void* from, size_t bytes) {
  {
    const watch::Blind blind;
    Thread& t = *threads_[current_];
    need_aligned(to, bytes, "copy_async");
    need_aligned(from, bytes, "copy_async");
    t.copies.push_back({to, from, bytes, t.groups});
  }
  std::memset(to, kUndefined, bytes);
  make_undefined(to, bytes);
}

void Block::copy_commit() {
  const watch::Blind blind;
  ++threads_[current_]->groups;
}

void Block::copy_wait(int keep) {
  Copy copy;
  while (land(keep, copy)) std::memcpy(copy.to, copy.from, copy.bytes);
}

/// The oldest copy of this thread that must be there when the last `keep` groups need not.
bool Block::land(int keep, Copy& copy) {
  const watch::Blind blind;
  Thread& t = *threads_[current_];
  if (t.copies.empty() || t.copies.front().group >= t.groups - keep) return false;
  copy = t.copies.front();
  t.copies.pop_front();
  return true;
}

void Block::fail(const std::string& what) const { throw Error(ErrorKind::runtime, what); }

std::string Block::name_of(unsigned thread) const { return fmt::format("thread {} of block ({}, {}, {})", thread, index_.x, index_.y, index_.z); }

std::string Block::waiting() const {
  std::string all;
  std::optional<std::string> last;
  for (unsigned i = 0; i < launch_->shape.threads; ++i) {
    const Thread& t = *threads_[i];
    if (t.state == State::done) continue;
    std::string what =
        t.state == State::at_barrier ? "block_sync at " + text(t.where) : fmt::format("{} at {}", t.request.name, text(t.request.where));
    if (what == last) continue;
    all += fmt::format("{}{} waits in {}", all.empty() ? "" : ", ", name_of(i), what);
    last = std::move(what);
  }
  if (live_ < launch_->shape.threads) all += fmt::format("; {} threads have returned", launch_->shape.threads - live_);
  return all;
}

}  // namespace kerf::simt
