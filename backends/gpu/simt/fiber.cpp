#include "backends/gpu/simt/fiber.h"

#include <cstdint>
#include <utility>

#if defined(__SANITIZE_ADDRESS__)
#define KERF_ASAN
#endif
#if defined(__SANITIZE_THREAD__)
#define KERF_TSAN
#endif
#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define KERF_ASAN
#endif
#if __has_feature(thread_sanitizer)
#define KERF_TSAN
#endif
#if __has_feature(memory_sanitizer)
#define KERF_MSAN
#endif
#endif
#if defined(KERF_ASAN)
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif
#if defined(KERF_TSAN)
#include <sanitizer/tsan_interface.h>
extern "C" {  // reads and writes; each call looks up the stack it came from, so that the annotations for one of them cost twice
void __tsan_ignore_thread_begin();
void __tsan_ignore_thread_end();
}
#endif
#if defined(KERF_MSAN)
#include <sanitizer/msan_interface.h>
#endif
#if !defined(__x86_64__)
#include <ucontext.h>

#include <memory>
#endif

namespace kerf::simt {
namespace {

/// The fiber that this thread runs: what main() of a new one can not be handed.
thread_local Fiber* t_fiber = nullptr;

}  // namespace

// The thread sanitizer keeps a list of the functions that a thread is in. One that is entered in the name of a fiber and left in that
// of the thread, or never, would stay on it, and each Blind, which takes note of the list, would take longer with every block.
#define KERF_NOT_LISTED [[gnu::no_sanitize_thread]]

#if defined(__x86_64__)
// Saves what a call preserves (System V AMD64 ABI 3.2.1) on the stack, the stack pointer in *save, and goes on where `load` was
// saved. 23 ns; swapcontext(), which also saves the signal mask by a system call, 235 ns.
extern "C" void kerf_simt_switch(void** save, void* load);
asm(R"(
.text
.globl kerf_simt_switch
.type kerf_simt_switch,@function
kerf_simt_switch:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp,(%rdi)
  movq %rsi,%rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
.size kerf_simt_switch,.-kerf_simt_switch
)");

namespace {
void* first_registers(std::byte* stack, size_t bytes, void (*main)()) {
  // As a call would leave it: the return address at 8 modulo 16; above it nothing to return to, below it six registers.
  auto* top = reinterpret_cast<void**>((reinterpret_cast<uintptr_t>(stack) + bytes - 64) & ~uintptr_t{15});
  *--top = nullptr;
  *--top = reinterpret_cast<void*>(main);
  for (int i = 0; i < 6; ++i) *--top = nullptr;
  return top;
}
void free_registers(void*) {}
KERF_NOT_LISTED void exchange(void** save, void* load) { kerf_simt_switch(save, load); }
}  // namespace
#else
namespace {
void* first_registers(std::byte* stack, size_t bytes, void (*main)()) {
  auto context = std::make_unique<ucontext_t>();
  getcontext(context.get());
  context->uc_stack.ss_sp = stack;
  context->uc_stack.ss_size = bytes;
  context->uc_link = nullptr;
  makecontext(context.get(), main, 0);
  return context.release();
}
void free_registers(void* registers) { delete static_cast<ucontext_t*>(registers); }
KERF_NOT_LISTED void exchange(void** save, void* load) {
  if (!*save) *save = new ucontext_t;
  swapcontext(static_cast<ucontext_t*>(*save), static_cast<ucontext_t*>(load));
}
}  // namespace
#endif

Fiber::~Fiber() {
  free_registers(std::exchange(fiber_.registers, nullptr));
  free_registers(std::exchange(thread_.registers, nullptr));
#if defined(KERF_TSAN)
  if (fiber_.thread) __tsan_destroy_fiber(fiber_.thread);
#endif
}

void Fiber::start(std::byte* stack, size_t bytes, const std::function<void()>& entry) {
  entry_ = &entry;
  fiber_.stack = stack;
  fiber_.bytes = bytes;
  fiber_.fake_stack = nullptr;
  allow(stack, bytes);
#if defined(KERF_TSAN)
  if (!fiber_.thread) fiber_.thread = __tsan_create_fiber(0);
#endif
  free_registers(std::exchange(fiber_.registers, nullptr));
  fiber_.registers = first_registers(stack, bytes, &Fiber::main);
}

void Fiber::resume() {
  t_fiber = this;
#if defined(KERF_ASAN)
  __sanitizer_start_switch_fiber(&thread_.fake_stack, fiber_.stack, fiber_.bytes);
#endif
#if defined(KERF_TSAN)
  thread_.thread = __tsan_get_current_fiber();
  __tsan_switch_to_fiber(fiber_.thread, __tsan_switch_to_fiber_no_sync);
#endif
  exchange(&thread_.registers, fiber_.registers);
#if defined(KERF_ASAN)
  __sanitizer_finish_switch_fiber(thread_.fake_stack, nullptr, nullptr);
#endif
}

void Fiber::to_thread(bool last) {
#if defined(KERF_ASAN)
  __sanitizer_start_switch_fiber(last ? nullptr : &fiber_.fake_stack, thread_.stack, thread_.bytes);
#endif
#if defined(KERF_TSAN)
  __tsan_switch_to_fiber(thread_.thread, __tsan_switch_to_fiber_no_sync);
#endif
  static_cast<void>(last);
  exchange(&fiber_.registers, thread_.registers);
#if defined(KERF_ASAN)
  __sanitizer_finish_switch_fiber(fiber_.fake_stack, &thread_.stack, &thread_.bytes);
#endif
}

void Fiber::pause() { to_thread(false); }

KERF_NOT_LISTED void Fiber::leave() {
  to_thread(true);
  __builtin_unreachable();
}

void Fiber::release(void* token) {
#if defined(KERF_TSAN)
  void* thread = __tsan_get_current_fiber();
  __tsan_switch_to_fiber(fiber_.thread, __tsan_switch_to_fiber_no_sync);
  watch::release(token);
  __tsan_switch_to_fiber(thread, __tsan_switch_to_fiber_no_sync);
#endif
  static_cast<void>(token);
}

void Fiber::main() {
  Fiber& self = *t_fiber;
#if defined(KERF_ASAN)
  __sanitizer_finish_switch_fiber(nullptr, &self.thread_.stack, &self.thread_.bytes);
#endif
  (*self.entry_)();
  self.leave();
}

namespace watch {
#if defined(KERF_TSAN)
extern const size_t kUnordered = 2;
void release(void* token) { __tsan_release(token); }
void acquire(void* token) { __tsan_acquire(token); }
static void look_away() { __tsan_ignore_thread_begin(); }
static void look_again() { __tsan_ignore_thread_end(); }
#else
extern const size_t kUnordered = 1;
void release(void*) {}
void acquire(void*) {}
static void look_away() {}
static void look_again() {}
#endif
Blind::Blind() { look_away(); }
Blind::~Blind() { look_again(); }
Seeing::Seeing() { look_again(); }
Seeing::~Seeing() { look_away(); }
}  // namespace watch

#if defined(KERF_ASAN)
void forbid(void* bytes, size_t n) { ASAN_POISON_MEMORY_REGION(bytes, n); }
void allow(void* bytes, size_t n) { ASAN_UNPOISON_MEMORY_REGION(bytes, n); }
#else
void forbid(void*, size_t) {}
void allow(void*, size_t) {}
#endif
#if defined(KERF_MSAN)
void make_undefined(void* bytes, size_t n) { __msan_poison(bytes, n); }
#else
void make_undefined(void*, size_t) {}
#endif

}  // namespace kerf::simt
