#include "loaders/gguf_writer.h"

#include <algorithm>
#include <bit>
#include <cstring>

#include "core/checked.h"
#include "core/error.h"
#include "loaders/gguf.h"

namespace kerf::gguf {
namespace {

constexpr std::string_view kMagic = "GGUF";
constexpr uint32_t kVersion = 3;
constexpr size_t kLongestName = 63;  // llama.cpp keeps names in 64 bytes, the last one 0

template <class T>
void append(std::string& to, T value) {
  static_assert(std::endian::native == std::endian::little);
  char bytes[sizeof value];
  std::memcpy(bytes, &value, sizeof value);
  to.append(bytes, sizeof value);
}

void append_text(std::string& to, std::string_view text) {
  append(to, uint64_t{text.size()});
  to += text;
}

bool all_differ(std::vector<std::string> names) {
  std::sort(names.begin(), names.end());
  return std::adjacent_find(names.begin(), names.end()) == names.end();
}

uint64_t padded(uint64_t n) { return align_up(n, Writer::kAlignment).value(); }

}  // namespace

void Writer::key(std::string_view key, uint32_t type) {
  keys_.emplace_back(key);
  append_text(metadata_, key);
  append(metadata_, type);
}

void Writer::text(std::string_view k, std::string_view value) {
  key(k, static_cast<uint32_t>(Type::string));
  append_text(metadata_, value);
}

void Writer::u32(std::string_view k, int64_t value) {
  KERF_CHECK(value >= 0 && value <= int64_t{UINT32_MAX}, std::string(k) + " is no u32");
  key(k, static_cast<uint32_t>(Type::u32));
  append(metadata_, static_cast<uint32_t>(value));
}

void Writer::f32(std::string_view k, float value) {
  key(k, static_cast<uint32_t>(Type::f32));
  append(metadata_, value);
}

void Writer::i32s(std::string_view k, std::span<const int32_t> values) {
  key(k, static_cast<uint32_t>(Type::array));
  append(metadata_, static_cast<uint32_t>(Type::i32));
  append(metadata_, uint64_t{values.size()});
  for (const int32_t v : values) append(metadata_, v);
}

void Writer::booleans(std::string_view k, const std::vector<bool>& values) {
  key(k, static_cast<uint32_t>(Type::array));
  append(metadata_, static_cast<uint32_t>(Type::boolean));
  append(metadata_, uint64_t{values.size()});
  for (const bool v : values) append(metadata_, static_cast<uint8_t>(v));
}

void Writer::tensor(std::string_view name, const TensorDesc& desc) {
  KERF_CHECK(name.size() <= kLongestName, "a tensor's name is too long: " + std::string(name));
  const int id = info(desc.dtype).gguf_id;
  KERF_CHECK(id >= 0, std::string(name_of(desc.dtype)) + " is never stored in a file");
  names_.emplace_back(name);
  offsets_.push_back(data_bytes_);
  append_text(infos_, name);
  const auto first =
      static_cast<size_t>(std::find_if(desc.shape.begin(), desc.shape.end() - 1, [](int64_t n) { return n != 1; }) - desc.shape.begin());
  append(infos_, static_cast<uint32_t>(desc.shape.size() - first));
  for (size_t d = desc.shape.size(); d-- > first;) append(infos_, static_cast<uint64_t>(desc.shape[d]));
  append(infos_, static_cast<uint32_t>(id));
  append(infos_, data_bytes_);
  data_bytes_ = padded(data_bytes_ + static_cast<uint64_t>(desc.bytes()));
}

uint64_t Writer::header_bytes() const { return padded(kMagic.size() + sizeof kVersion + 2 * sizeof(uint64_t) + metadata_.size() + infos_.size()); }

std::string Writer::header() const {
  KERF_CHECK(all_differ(keys_) && all_differ(names_), "a GGUF file has no two keys or tensors of one name");
  std::string out(kMagic);
  append(out, kVersion);
  append(out, uint64_t{names_.size()});
  append(out, uint64_t{keys_.size()});
  out += metadata_;
  out += infos_;
  out.resize(header_bytes());
  return out;
}

int64_t Writer::offset(size_t i) const { return static_cast<int64_t>(header_bytes() + offsets_.at(i)); }

int64_t Writer::bytes() const { return static_cast<int64_t>(header_bytes() + data_bytes_); }

}  // namespace kerf::gguf
