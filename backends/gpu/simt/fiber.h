// A fiber: a stack of its own and the registers that a call preserves. One OS thread runs many, one at a time, and switches only
// where they ask for it. A fiber is resumed by the thread that started it until it ends.
//
// The sanitizers are told of every switch: ASan which stack is in use, TSan that each fiber is a thread of its own whose
// switches order nothing, so that what two GPU threads do to one address without a barrier between them is a race to it.
#pragma once
#include <cstddef>
#include <functional>

namespace kerf::simt {

class Fiber {
 public:
  Fiber() = default;
  ~Fiber();
  Fiber(Fiber&&) = delete;

  /// A fiber that will run `entry` on `stack` (lowest address, bytes), always the same one. To the thread sanitizer it goes on as
  /// the thread that it was: a thread of its own costs 0.4 ms each time.
  /// `entry` must not throw, and must call leave() last.
  void start(std::byte* stack, size_t bytes, const std::function<void()>& entry);
  /// From the thread: runs the fiber until it calls pause() or leave().
  void resume();
  /// From inside: back to the thread, until resume().
  void pause();
  /// From inside, at the end: does not return.
  [[noreturn]] void leave();
  /// From the thread, of a fiber that will not be resumed: watch::release(token) in its name.
  void release(void* token);

 private:
  struct Side {  // of a switch: where its registers are, and what the sanitizers call it
    void* registers = nullptr;
    void* fake_stack = nullptr;
    const void* stack = nullptr;
    size_t bytes = 0;
    void* thread = nullptr;
  };
  [[gnu::no_sanitize_thread]] static void main();
  [[gnu::no_sanitize_thread]] void to_thread(bool last);
  Side fiber_, thread_;
  const std::function<void()>* entry_ = nullptr;
};

/// What the thread sanitizer is told of memory and order; nothing in other builds.
namespace watch {
/// Blocks that run one after the other on one OS thread must be this many different ones: only then is nothing known of their order.
extern const size_t kUnordered;
/// Everything that was done before release(token) is seen after acquire(token).
void release(void* token);
void acquire(void* token);
/// Between begin and end, the emulator's own accesses to what all GPU threads share are not looked at.
class Blind {
 public:
  Blind();
  ~Blind();
  Blind(const Blind&) = delete;
  Blind& operator=(const Blind&) = delete;
};
/// Within a Blind, for a fiber that pauses: one that is never resumed must not end blind.
class Seeing {
 public:
  Seeing();
  ~Seeing();
  Seeing(const Seeing&) = delete;
  Seeing& operator=(const Seeing&) = delete;
};
}  // namespace watch

/// What ASan and MSan are told; nothing in other builds.
void forbid(void* bytes, size_t n);          // an access is an error
void allow(void* bytes, size_t n);           // no longer
void make_undefined(void* bytes, size_t n);  // a decision or an address computed from them is an error

}  // namespace kerf::simt
