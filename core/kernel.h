// A Kernel is one way to compute one op. Everything kerf needs to know about it is in this struct: dispatch, tests,
// benchmarks, the coverage table and the explanation of a choice are all read from it.
#pragma once
#include <array>
#include <cstddef>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/isa.h"
#include "core/op.h"
#include "core/tensor.h"

namespace kerf {

class ThreadPool;

/// Where the kernels of a device are launched (a stream). Each backend that has devices of its own derives from it.
struct DeviceQueue {
  DeviceQueue() = default;
  virtual ~DeviceQueue() = default;
  DeviceQueue(const DeviceQueue&) = delete;
  DeviceQueue& operator=(const DeviceQueue&) = delete;
};

/// What is asked, without pointers: printable, comparable.
struct Problem {
  Op op{};
  std::vector<TensorDesc> in{};
  std::vector<TensorDesc> out{};
  bool operator==(const Problem&) const = default;
};
/// Problem with the outputs its shape rule gives. @throws Error as infer() does.
Problem problem(Op op, std::vector<TensorDesc> in);
/// The format the op gives output `i` when nobody asks for another.
DType own_format(const Problem& p, size_t i = 0);
std::string to_text(const Problem& p);

/// Where the bytes are. Views match the Problem's descriptions and start on 32 bytes (weights lie in the mapped file, whose
/// alignment that is); rows start wherever the previous one ends. Scratch has scratch_bytes() bytes and starts on 64.
struct Call {
  std::span<const TensorView> in{};
  std::span<const TensorView> out{};
  std::span<std::byte> scratch{};
  ThreadPool& pool;
  DeviceQueue* queue = nullptr;  // of the device that runs the kernel; the host and those that borrow its kernels have none
};

/// "No" is data, not an error: it carries the reason. Empty means yes.
struct Support {
  std::string why_not{};
  explicit operator bool() const { return why_not.empty(); }
};
inline Support require(bool ok, std::string_view why_not) { return {ok ? std::string{} : std::string(why_not)}; }

struct Kernel {
  std::string_view op{};        // Op::name
  std::string variant{};        // "q4_k.3_vnni"; empty: the only one of its backend
  std::string improves{};       // variant of the rung below, "" for the first
  std::string_view note{};      // one sentence: what changes against that rung, and why it helps
  int preference = 0;           // the highest that accepts wins; equal ones for one problem are an error at start-up
  Isa isa = Isa::base;          // what the machine must have
  uint8_t unit_values = 1;      // activations of a row that share a scale when it rounds them: `unit` is then of their largest
  double unit = 0x1p-24;        // unit roundoff of the narrowest format it rounds to: 2^-24 f32; 2^-8 for products in bf16
  std::vector<DType> writes{};  // formats, besides the op's own, that it can write its only output in: as a Convert behind it would
  Support (*accepts)(const Problem&) = nullptr;
  size_t (*scratch_bytes)(const Problem&) = nullptr;  // null: none
  void (*run)(const Problem&, const Call&) = nullptr;
  std::string_view backend{};  // set by Registry::add

  std::string name() const;  // "cpu/matmul.q4_k.3_vnni"
  size_t scratch(const Problem& p) const { return scratch_bytes ? scratch_bytes(p) : 0; }
};

/// Which kernels may be used at all: the user's choice, as data.
struct KernelPolicy {
  std::vector<std::string> backends{"cpu"};  // the first that has a fitting kernel serves an op
  Isa isa = Isa::base;                       // highest level allowed: detect_isa(), or lower by --isa
  struct Pin {
    std::string op, kernel;
  };  // --kernel OP=NAME: only this kernel for this op or node
  std::vector<Pin> pins{};
  std::vector<DType> activations{DType::f32, DType::q8_g16, DType::bf16_t16, DType::q15_t16};  // formats a matmul may read its activations in
  bool repack = true;                                                                          // --no-repack: weights stay as the file has them
  bool repack_experts = false;                                                                 // --repack-experts: those of experts do not either
  std::vector<std::string> fusions{"all"};                                                     // --fuse: names of core/rewrite.h, "format", "all"
  bool fuses(std::string_view name) const;
};

/// Backends whose kernels run on devices of the same name ("emu" on emu:0) and on no others; those of all other backends run on
/// the host and on devices that pretend.
inline constexpr std::array<std::string_view, 4> kDeviceBackends{"emu", "emu64", "cuda", "hip"};
/// "emu" of "emu:0".
std::string_view kind_of(std::string_view device);
bool runs_on(std::string_view backend, std::string_view device);
/// The policy for nodes on a device: --backend's list on the host, else the device's own backend; and of the pins those that name
/// a kernel that runs there.
KernelPolicy policy_on(const KernelPolicy& policy, std::string_view device);

class Registry {
 public:
  /// What one backend's generated fill function adds its kernels through.
  class Adder {
   public:
    Adder(Registry& registry, std::string_view backend) : registry_(registry), backend_(backend) {}
    void add(Kernel k);

   private:
    Registry& registry_;
    std::string_view backend_;
  };
  Adder backend(std::string_view name) { return {*this, name}; }

  std::span<const Kernel> all() const { return kernels_; }
  /// By full name; null if there is none.
  const Kernel* find(std::string_view name) const;
  /// The kernel that would run `p` for `node` under `policy`; null if none fits.
  /// @throws Error(usage) if a pin names no kernel. Two fitting kernels of equal preference are a broken promise of a backend.
  const Kernel* best(const Problem& p, const KernelPolicy& policy, std::string_view node = {}) const;
  /// Why kernel `k` would not run `p`; empty if it could.
  std::string why_not(const Kernel& k, const Problem& p, const KernelPolicy& policy, std::string_view node = {}) const;

 private:
  std::vector<Kernel> kernels_;
};

}  // namespace kerf
