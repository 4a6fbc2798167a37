// Tests of the emulator by kernels that are wrong: each is a small correct kernel with one fault planted by a template parameter,
// and a table says which build must find it. tests/gpu/faults/main.cpp runs them.
#pragma once
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/kernel.h"

namespace kerf {

/// In which builds a fault must be found.
enum Build : unsigned { plain = 1, asan = 2, tsan = 4, msan = 8 };
constexpr unsigned kEverywhere = plain | asan | tsan | msan;

struct Fault {
  int number = 0;  // 0: the correct kernel
  std::string_view kernel{};
  std::string_view what{};
  unsigned found_by = 0;               // builds that must find it; by message, by wrong value or by the sanitizer
  bool (*run)(const Call&) = nullptr;  // whether the result is what it must be. @throws Error for the emulator's messages
  bool wide = false;                   // waves of 64 lanes
};

/// In namespace emu and emu64, compiled from the same sources.
namespace emu {
std::vector<Fault> block_faults();
std::vector<Fault> warp_faults();
std::vector<Fault> tile_faults();
}  // namespace emu
namespace emu64 {
std::vector<Fault> block_faults();
std::vector<Fault> warp_faults();
std::vector<Fault> tile_faults();
}  // namespace emu64

/// Device memory of exactly n values, so that the address sanitizer sees what lies beyond.
template <class T>
class Memory {
 public:
  /// Undefined.
  explicit Memory(size_t n) : n_(n), data_(static_cast<T*>(::operator new (n * sizeof(T), std::align_val_t{64}))) {}
  template <class F>
  Memory(size_t n, F&& value) : Memory(n) {
    for (size_t i = 0; i < n; ++i) data_.get()[i] = static_cast<T>(value(static_cast<int>(i)));
  }
  T* data() { return data_.get(); }
  T& operator[](size_t i) { return data_.get()[i]; }
  template <class F>
  bool is(F&& value) const {
    for (size_t i = 0; i < n_; ++i)
      if (!(data_.get()[i] == static_cast<T>(value(static_cast<int>(i))))) return false;
    return true;
  }

 private:
  struct Free {
    void operator()(T* p) const { ::operator delete (p, std::align_val_t{64}); }
  };
  size_t n_;
  std::unique_ptr<T, Free> data_;
};

}  // namespace kerf
