// Writes GGUF files for tests: right ones by default, and wrong ones wherever a test says so. Everything a reader checks
// (counts, lengths, offsets, types) can be overridden, and nothing here is checked.
#pragma once
#include <cstdint>
#include <cstring>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace kerf::test {

/// Type ids of metadata values, as in the file.
enum : uint32_t { kU8, kI8, kU16, kI16, kU32, kI32, kF32, kBool, kString, kArray, kU64, kI64, kF64 };

template <class T>
std::string raw(T value) {
  std::string bytes(sizeof value, '\0');
  std::memcpy(bytes.data(), &value, sizeof value);
  return bytes;
}
inline std::string raw_text(std::string_view s) { return raw(uint64_t{s.size()}) + std::string(s); }

template <class T>
std::string raw_array(uint32_t element, const std::vector<T>& items) {
  std::string bytes = raw(element) + raw(uint64_t{items.size()});
  for (const T& item : items) bytes += raw(item);
  return bytes;
}
inline std::string raw_texts(const std::vector<std::string>& items) {
  std::string bytes = raw(uint32_t{kString}) + raw(uint64_t{items.size()});
  for (const auto& item : items) bytes += raw_text(item);
  return bytes;
}

struct GgufWriter {
  struct Key {
    std::string name{};
    uint32_t type = 0;
    std::string value{};  // as in the file
    std::optional<uint64_t> name_length{};
  };
  struct Tensor {
    std::string name{};
    uint32_t type = 0;           // GGUF id
    std::vector<uint64_t> ne{};  // innermost first
    std::string data{};
    std::optional<uint64_t> offset{};  // else right behind the tensor before
    std::optional<uint32_t> n_dims{};
    std::optional<uint64_t> name_length{};
  };

  std::string magic = "GGUF";
  uint32_t version = 3;
  uint64_t alignment = 32;
  std::optional<uint64_t> n_keys{}, n_tensors{};
  std::vector<Key> keys{};
  std::vector<Tensor> tensors{};

  /// Replaces the key of that name, or adds it at the end.
  void set(const std::string& name, uint32_t type, std::string value) {
    for (auto& key : keys)
      if (key.name == name) {
        key.type = type;
        key.value = std::move(value);
        return;
      }
    add(name, type, std::move(value));
  }
  void add(std::string name, uint32_t type, std::string value) { keys.push_back({.name = std::move(name), .type = type, .value = std::move(value)}); }
  void u32(const std::string& name, uint32_t v) { set(name, kU32, raw(v)); }
  void i32(const std::string& name, int32_t v) { set(name, kI32, raw(v)); }
  void f32(const std::string& name, float v) { set(name, kF32, raw(v)); }
  void boolean(const std::string& name, bool v) { set(name, kBool, raw(static_cast<uint8_t>(v))); }
  void text(const std::string& name, std::string_view v) { set(name, kString, raw_text(v)); }
  void texts(const std::string& name, const std::vector<std::string>& v) { set(name, kArray, raw_texts(v)); }
  void f32s(const std::string& name, const std::vector<float>& v) { set(name, kArray, raw_array(kF32, v)); }
  void i32s(const std::string& name, const std::vector<int32_t>& v) { set(name, kArray, raw_array(kI32, v)); }
  void erase(const std::string& name) {
    std::erase_if(keys, [&](const Key& key) { return key.name == name; });
  }
  Tensor& tensor(const std::string& name) {
    for (auto& t : tensors)
      if (t.name == name) return t;
    return tensors.emplace_back(Tensor{.name = name});
  }
  void erase_tensor(const std::string& name) {
    std::erase_if(tensors, [&](const Tensor& t) { return t.name == name; });
  }

  uint64_t padded(uint64_t n) const { return alignment > 1 ? (n + alignment - 1) / alignment * alignment : n; }

  /// Everything before the data, without padding.
  std::string header() const {
    std::string out = magic + raw(version) + raw(n_tensors.value_or(tensors.size())) + raw(n_keys.value_or(keys.size()));
    for (const auto& key : keys) out += raw(key.name_length.value_or(key.name.size())) + key.name + raw(key.type) + key.value;
    uint64_t next = 0;
    for (const auto& t : tensors) {
      out += raw(t.name_length.value_or(t.name.size())) + t.name + raw(t.n_dims.value_or(static_cast<uint32_t>(t.ne.size())));
      for (const uint64_t n : t.ne) out += raw(n);
      out += raw(t.type) + raw(t.offset.value_or(next));
      next += padded(t.data.size());
    }
    return out;
  }
  uint64_t data_start() const { return padded(header().size()); }
  std::string bytes() const {
    std::string out = header();
    out.resize(padded(out.size()));
    for (const auto& t : tensors) {
      out += t.data;
      out.resize(padded(out.size()));
    }
    return out;
  }
};

}  // namespace kerf::test
