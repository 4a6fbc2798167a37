// One test for all kernels: any kernel, any case of its op that it accepts, against the reference on the very same bytes.
//
// What a kernel may assume of memory, and no more: every tensor starts on 32 bytes (GGUF's alignment; never on 64 here), a
// row starts wherever the previous one ends, scratch starts on 64. Around every tensor lie guard bytes. Each case runs once
// per pool, each time on fresh copies with different bytes in guards, scratch, unwritten state and the output beforehand:
// equal results mean that nothing was read from there, nothing left unwritten, and no dependence on the number of threads.
#pragma once
#include <functional>
#include <memory>
#include <string>

#include "core/device.h"
#include "core/threadpool.h"
#include "experiments/kernel_cases.h"

namespace kerf {

struct CheckResult {
  std::string kernel{}, problem{};
  DataKind data{};
  uint64_t seed = 0;
  std::string failure{};  // empty: passed
  double worst = 0;       // largest |got - want| / allowed; <= 1 passes
  double worst_ulp = 0;   // largest |got - want| in units of 2^-24 times the yardstick (matmul: sum |x w|)
  double cosine = 1;
  explicit operator bool() const { return failure.empty(); }
};

struct KernelReport {
  std::string kernel{};
  int cases = 0, failed = 0;
  double worst = 0, worst_ulp = 0, cosine = 1;
  std::vector<CheckResult> failures{};  // the first three
  std::string skipped{};                // why it was not run at all, e.g. "needs avx512"
};

/// For a build in which kernels take fifty times as long: of `among` (indices into `cases`) those that `kernel` should be tried on.
/// Each type that it takes or gives may be an instance of a template. So the combinations of types are gone through in the
/// order of their least work (core/cost.h; twice that if the data is not exact, so that it mostly is), and of each that has a type
/// not met before in its place `few` cases are taken, by turns
///   1. one that fills more than one tile of kTileRows rows, and not the last of them,
///   2. any, which mostly is a single row, as in decoding,
///   3. one whose columns fill more than a tile, and not the last of them,
/// of least work among those left; any where there is none of that kind. Each combination goes on where the one before it ended, so
/// that a kernel with several has all three even if `few` is one.
/// @returns their indices, ascending
std::vector<size_t> few_cases(const Kernel& kernel, std::span<const KernelCase> cases, std::span<const size_t> among, size_t few);
constexpr int64_t kTileRows = 16;

class KernelChecker {
 public:
  KernelChecker();
  ~KernelChecker();

  /// Runs `kernel` on the problem once per pool (at least twice in all) and compares with the reference.
  /// The kernel must accept the problem and this machine must have its instruction set.
  CheckResult check(const Kernel& kernel, const KernelCase& c, uint64_t seed, std::span<ThreadPool* const> pools, Device* device = nullptr);
  /// A kernel that writes its output in another format than the op's own must give the bits of its own output converted.
  CheckResult check_format(const Kernel& kernel, const KernelCase& c, DType format, uint64_t seed, Device* device = nullptr);
  CheckResult check(const Kernel& kernel, const Problem& p, DataKind data, uint64_t seed, ThreadPool& pool);

  struct Selection {
    std::string prefix{};          // of Kernel::name(): "cpu/matmul.q4_k"; empty: all
    std::string op{};              // only kernels and cases of this op
    std::optional<DType> dtype{};  // only cases with an input of this type or its interleaved form (convert: or output)
    std::optional<size_t> only{};  // one case: its index in kernel_cases(op)
    bool exact = false;            // only cases of exact data
    bool threads = false;          // only cases that run with several thread counts
    size_t few = 0;                // only so many cases for each kernel and type of a tensor (few_cases); 0: all
    Isa isa = Isa::base;           // what this machine has
    Isa least = Isa::base;         // only kernels that need at least this
    uint64_t seed = 1;
    Device* device = nullptr;             // where kernels run; null: the host. Kernels that do not run there are reported as skipped.
    std::function<void()> before_each{};  // called before each case; may throw to end the test
  };
  /// Every selected kernel on every selected case it accepts. A kernel that no case reaches fails, unless the selection
  /// narrows the cases (dtype, only, exact, threads); with `few` it does. `progress` is called after each failure with its text, ending
  /// with the command that repeats it.
  std::vector<KernelReport> test(const Registry& registry, const Selection& select, const std::function<void(const std::string&)>& progress = {});

 private:
  struct Truth;
  const Truth& truth(const KernelCase& c, uint64_t seed);
  Registry reference_;
  std::array<std::unique_ptr<ThreadPool>, 4> pools_;  // 1, 2, 3 and 8 threads
  std::unique_ptr<Truth> truth_;                      // of the last case: kernels of one op share it
};

}  // namespace kerf
