#include "experiments/kernel_attempt.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>

#include "quant/formats.h"

namespace kerf {
namespace {

constexpr size_t kGuard = 256;

/// A tensor's bytes with guards before and behind. On the host the tensor starts on 32 bytes but not on 64, where a mapped file may
/// have it; on a device, which has a copy of all this, on 64.
class Guarded {
 public:
  Guarded(size_t size, std::byte pattern, Device* device, size_t alignment = 32)
      : size_(size), pattern_(pattern), memory_(size + 2 * kGuard + 128, pattern), device_(device) {
    const auto start = reinterpret_cast<uintptr_t>(memory_.data()) + kGuard;
    offset_ = kGuard + (64 - start % 64) % 64 + alignment % 64;
    if (!device_) return;
    offset_ = kGuard + 64;
    copy_ = device_->allocate(static_cast<int64_t>(memory_.size()));
  }
  Guarded(Guarded&&) = default;
  ~Guarded() {
    if (copy_.data()) device_->allow(copy_.data(), copy_.size());
  }
  /// What a kernel is given.
  std::byte* place() { return copy_.data() ? copy_.data() + offset_ : data(); }
  void upload() {
    if (!device_) return;
    device_->upload(copy_.data(), memory_.data(), copy_.size());
    const auto behind = static_cast<int64_t>(offset_ + size_);
    device_->forbid(copy_.data(), static_cast<int64_t>(offset_));
    device_->forbid(copy_.data() + behind, copy_.size() - behind);
  }
  void download() {
    if (!device_) return;
    device_->allow(copy_.data(), copy_.size());
    device_->download(memory_.data(), copy_.data(), copy_.size());
  }
  std::byte* data() { return memory_.data() + offset_; }
  size_t size() const { return size_; }
  void assign(const std::vector<std::byte>& bytes) { std::copy(bytes.begin(), bytes.end(), data()); }
  bool equals(const std::vector<std::byte>& bytes) { return std::memcmp(bytes.data(), data(), bytes.size()) == 0; }
  bool intact() const {
    const auto clean = [&](size_t from, size_t to) {
      return std::all_of(memory_.begin() + from, memory_.begin() + to, [&](std::byte b) { return b == pattern_; });
    };
    return clean(0, offset_) && clean(offset_ + size_, memory_.size());
  }

 private:
  size_t size_, offset_;
  std::byte pattern_;
  std::vector<std::byte> memory_;
  Device* device_;
  Buffer copy_;
};

}  // namespace

Attempt attempt(const Kernel& kernel, const Problem& p, const KernelInputs& inputs, ThreadPool& pool, std::byte pattern, Device* device) {
  if (device) device->enter();
  auto bytes = inputs.bytes;
  for (const auto& hole : inputs.holes) std::fill_n(bytes[hole.input].begin() + hole.offset, hole.size, pattern);
  std::vector<Guarded> in;
  in.reserve(bytes.size());
  std::vector<TensorView> views;
  for (size_t i = 0; i < bytes.size(); ++i) {
    in.emplace_back(bytes[i].size(), pattern, device).assign(bytes[i]);
    views.push_back({p.in[i], in[i].place()});
  }
  std::vector<Guarded> out;
  out.reserve(p.out.size());
  std::vector<TensorView> results;
  std::vector<bool> written(in.size(), false);
  for (size_t i = 0; i < p.out.size(); ++i) {
    const auto from = alias_of(p.op, i);  // the output is that input's memory
    out.emplace_back(from ? 0 : static_cast<size_t>(p.out[i].bytes()), pattern, device);
    results.push_back({p.out[i], from ? in[*from].place() : out[i].place()});
    if (from) written[*from] = true;
  }
  Guarded scratch(kernel.scratch(p), pattern, device, 64);
  const auto each = [&](void (Guarded::*f)()) {
    for (auto& t : in) (t.*f)();
    for (auto& t : out) (t.*f)();
    (scratch.*f)();
  };
  each(&Guarded::upload);
  try {
    const Call call{views, results, {scratch.place(), scratch.size()}, pool};
    if (device)
      device->run(kernel, p, call);
    else
      kernel.run(p, call);
  } catch (const std::exception& e) {
    return {fmt::format("threw: {}", e.what()), {}};
  }
  each(&Guarded::download);
  for (size_t i = 0; i < in.size(); ++i) {
    if (!in[i].intact()) return {fmt::format("wrote outside of input {}", i), {}};
    if (!written[i] && !in[i].equals(bytes[i])) return {fmt::format("changed input {}", i), {}};
  }
  if (!scratch.intact()) return {"wrote outside of its scratch", {}};
  Attempt done;
  for (size_t i = 0; i < p.out.size(); ++i) {
    if (!out[i].intact()) return {fmt::format("wrote outside of output {}", i), {}};
    const auto from = alias_of(p.op, i);
    const std::byte* first = from ? in[*from].data() : out[i].data();
    done.out.emplace_back(first, first + p.out[i].bytes());
  }
  return done;
}

std::vector<float> decoded(const TensorDesc& d, const std::vector<std::byte>& bytes) {
  std::vector<float> values(static_cast<size_t>(d.size()));
  if (d.dtype == DType::i32) {
    for (size_t i = 0; i < values.size(); ++i) {
      int32_t v = 0;
      std::memcpy(&v, bytes.data() + 4 * i, 4);
      values[i] = static_cast<float>(v);
    }
    return values;
  }
  for (int64_t r = 0; r < d.rows(); ++r) quant::decode_row_of(d, bytes.data(), r, values.data() + r * d.cols());
  return values;
}

}  // namespace kerf
