// One block of GPU threads, each a fiber of the OS thread that runs the block: barrier, operations that lanes do together, shared
// memory and asynchronous copies, with the checks that a GPU does not make. Kernels reach it through the words of
// backends/gpu/vendor/emu.h.
//
// Not modelled: weak memory order between blocks, blocks that wait for each other, bank conflicts, coalescing, fast-math.
#pragma once
#include <array>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "backends/gpu/simt/fiber.h"

namespace kerf::simt {

struct Index3 {
  unsigned x = 1, y = 1, z = 1;
};

/// A line of a kernel. (clang 14 has no std::source_location.)
struct Where {
  const char* file = "";
  int line = 0;
  static constexpr Where current(const char* file = __builtin_FILE(), int line = __builtin_LINE()) { return {file, line}; }
};

/// What kernels may ask for. `portable` is what every GPU that kerf compiles for has.
struct Target {
  std::string_view name = "portable";
  int64_t shared = 48 << 10;  // bytes of shared memory per block, static and dynamic together
  unsigned threads = 1024;    // of a block
  Index3 blocks{0x7FFFFFFF, 65535, 65535};
};

enum class Schedule : uint8_t { forward, reverse, random };

/// The order in which the threads of a block take turns, and blocks of a grid begin (random: at a random one). Results must not
/// depend on it.
struct Order {
  Schedule schedule = Schedule::forward;
  uint64_t seed = 1;
};

struct LaunchShape {
  std::string_view kernel{};
  Index3 blocks{};       // of the grid
  unsigned threads = 1;  // of a block, in one dimension
  size_t shared = 0;     // dynamic, bytes
};

struct Counters {
  int64_t launches = 0, blocks = 0, switches = 0, barriers = 0, together = 0;
};

/// What one lane brings to an operation that lanes do together. The last of them to arrive executes it for all.
struct Together {
  std::string_view name{};                                   // "shfl_xor"
  uint64_t mask = 0;                                         // lanes of the group that take part
  void* data = nullptr;                                      // of this lane
  void (*execute)(void* const* data, unsigned n) = nullptr;  // one pointer per lane of the group; null: takes no part
  Where where{};
  bool orders_memory = false;  // writes before it are seen after it by the lanes of the mask
  bool needs_all = false;      // a block that ends within the group can not do it
};

class Block {
 public:
  static constexpr size_t kMaxThreads = 1024;

  Block();
  ~Block();
  Block(const Block&) = delete;
  Block& operator=(const Block&) = delete;

  struct Launch {
    const LaunchShape& shape;
    const Target& target;
    Order order{};
    const std::function<void()>& kernel;
    char *begun, *ended;  // tokens: released before the launch, acquired after it
  };
  /// Runs block `index` to its end on this OS thread. @throws Error(runtime) for what a GPU would answer with a hang, a fault or garbage.
  void run(const Launch& launch, Index3 index, Counters& counters);

  /// The block that this OS thread is running. KERF_CHECK if none: a word of the vocabulary outside of a kernel.
  [[gnu::no_sanitize_thread]] static Block& current();

  // From inside a GPU thread:
  [[gnu::no_sanitize_thread]] unsigned thread() const { return current_; }
  [[gnu::no_sanitize_thread]] unsigned threads() const { return launch_->shape.threads; }
  [[gnu::no_sanitize_thread]] Index3 index() const { return index_; }
  [[gnu::no_sanitize_thread]] Index3 blocks() const { return launch_->shape.blocks; }
  void barrier(Where where);
  /// Groups are `lanes` consecutive threads; at most 64.
  void together(const Together& request, unsigned lanes);
  /// The shared array that `key` stands for, the same for all threads of the block.
  void* shared(const void* key, size_t bytes, size_t alignment, const char* name);
  [[gnu::no_sanitize_thread]] std::byte* dynamic_shared() { return dynamic_; }
  /// The word `name` needs an address that is a multiple of `alignment`.
  void need_aligned(const void* address, size_t alignment, std::string_view name) const;
  /// A copy that lands when it must: at the wait. From now until then nobody may look there, or finds what is undefined.
  void copy_async(void* to, const void* from, size_t bytes);  // both multiples of `bytes`
  void copy_commit();
  /// All but the last `keep` committed groups have landed.
  void copy_wait(int keep);

 private:
  enum class State : uint8_t { ready, at_barrier, together, done };
  struct Copy {
    void* to = nullptr;
    const void* from = nullptr;
    size_t bytes = 0;
    int group = 0;
  };
  struct Thread {
    Fiber fiber{};
    std::byte* stack = nullptr;
    State state = State::ready;
    Together request{};
    Where where{};
    std::deque<Copy> copies{};  // not landed yet, oldest first
    int groups = 0;             // committed
  };
  struct SharedArray {
    const void* key = nullptr;
    const char* name = "";
    std::byte* bytes = nullptr;
  };

  void begin(Index3 index);
  [[gnu::no_sanitize_thread]] void main();
  void finish();
  void release_barrier();
  void pause();
  void schedule(std::vector<unsigned>& order);
  void abandon();
  bool land(int keep, Copy& copy);
  std::byte* take_shared(size_t bytes, size_t alignment, const char* name);
  [[noreturn]] void fail(const std::string& what) const;
  std::string name_of(unsigned thread) const;
  std::string waiting() const;

  const Launch* launch_ = nullptr;
  Index3 index_{};
  unsigned current_ = 0, live_ = 0, waiting_ = 0;
  std::array<uint64_t, kMaxThreads / 64> together_{}, done_{};  // a bit for each thread in that state
  std::vector<std::unique_ptr<Thread>> threads_;
  std::byte* stacks_ = nullptr;  // of all threads, mapped once
  std::byte* arena_ = nullptr;
  size_t arena_used_ = 0;
  int64_t shared_taken_ = 0;
  std::byte* dynamic_ = nullptr;
  std::vector<SharedArray> arrays_;
  std::array<char, 2> barrier_tokens_{};  // of even and odd barriers
  std::array<char, 64> group_tokens_{};
  char reuse_token_ = 0;  // orders a block behind the one that ran here before, as it uses the same memory
  unsigned barriers_ = 0;
  std::function<void()> entry_;
  std::exception_ptr failure_;
  Counters counters_;
  std::mt19937_64 random_;
};

}  // namespace kerf::simt
