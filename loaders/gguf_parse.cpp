#include "loaders/gguf_parse.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstring>

#include "core/checked.h"
#include "core/text.h"
#include "loaders/cursor.h"

namespace kerf::gguf {
namespace {

struct TypeInfo {
  std::string_view name{};
  uint64_t bytes = 0;  // of one value; 8 for a string (its length)
};
constexpr std::array<TypeInfo, 13> kTypes{{{"u8", 1},
                                           {"i8", 1},
                                           {"u16", 2},
                                           {"i16", 2},
                                           {"u32", 4},
                                           {"i32", 4},
                                           {"f32", 4},
                                           {"bool", 1},
                                           {"string", 8},
                                           {"array", 0},
                                           {"u64", 8},
                                           {"i64", 8},
                                           {"f64", 8}}};

Type read_type(Cursor& in, std::string_view field) {
  const uint64_t at = in.offset();
  const uint32_t id = in.u32(field);
  if (id >= kTypes.size()) in.refuse(at, field, "0..12", fmt::format("{}", id));
  return static_cast<Type>(id);
}

bool read_bool(Cursor& in, std::string_view field) {
  const uint64_t at = in.offset();
  const auto value = in.number<uint8_t>(field);
  if (value > 1) in.refuse(at, field, "0 or 1", fmt::format("{}", value));
  return value == 1;
}

Scalar read_scalar(Cursor& in, Type type) {
  constexpr std::string_view field = "value";
  switch (type) {
    case Type::u8:
      return uint64_t{in.number<uint8_t>(field)};
    case Type::i8:
      return int64_t{in.number<int8_t>(field)};
    case Type::u16:
      return uint64_t{in.number<uint16_t>(field)};
    case Type::i16:
      return int64_t{in.number<int16_t>(field)};
    case Type::u32:
      return uint64_t{in.u32(field)};
    case Type::i32:
      return int64_t{in.number<int32_t>(field)};
    case Type::f32:
      return double{in.number<float>(field)};
    case Type::boolean:
      return read_bool(in, "bool");
    case Type::string:
      return in.text(kMaxString, "string");
    case Type::u64:
      return in.u64(field);
    case Type::i64:
      return in.number<int64_t>(field);
    case Type::f64:
      return in.number<double>(field);
    case Type::array:
      break;
  }
  KERF_CHECK(false, "read_scalar: not a scalar type");
  return {};
}

template <class Stored, class Kept>
std::vector<Kept> read_numbers(Cursor& in, uint64_t n) {
  const auto bytes = in.bytes(n * sizeof(Stored), "array");
  std::vector<Kept> out(n);
  for (uint64_t i = 0; i < n; ++i) {
    Stored value{};
    std::memcpy(&value, bytes.subspan(i * sizeof value, sizeof value).data(), sizeof value);
    out[i] = static_cast<Kept>(value);
  }
  return out;
}

Array read_array(Cursor& in, Type& element) {
  const uint64_t type_at = in.offset();
  element = read_type(in, "array element type");
  if (element == Type::array) in.refuse(type_at, "array element type", "", "array not supported");
  const uint64_t n_at = in.offset(), n = in.u64("array n"), each = kTypes[static_cast<size_t>(element)].bytes;
  const auto bytes = checked_mul(n, each);
  if (!bytes) in.refuse(n_at, "array n", "", fmt::format("{} * {} bytes overflows", n, each));
  if (*bytes > in.remaining())
    in.refuse(n_at, "array n", fmt::format("<= {} bytes remaining", in.remaining()), fmt::format("{} * {} bytes", n, each));
  switch (element) {
    case Type::u8:
    case Type::i8:
      return in.bytes(n, "array");
    case Type::u16:
      return read_numbers<uint16_t, uint64_t>(in, n);
    case Type::i16:
      return read_numbers<int16_t, int64_t>(in, n);
    case Type::u32:
      return read_numbers<uint32_t, uint64_t>(in, n);
    case Type::i32:
      return read_numbers<int32_t, int64_t>(in, n);
    case Type::f32:
      return read_numbers<float, double>(in, n);
    case Type::u64:
      return read_numbers<uint64_t, uint64_t>(in, n);
    case Type::i64:
      return read_numbers<int64_t, int64_t>(in, n);
    case Type::f64:
      return read_numbers<double, double>(in, n);
    case Type::boolean: {
      std::vector<bool> out(n);
      for (uint64_t i = 0; i < n; ++i) out[i] = read_bool(in, "bool");
      return out;
    }
    case Type::string: {
      std::vector<std::string_view> out;
      out.reserve(n);
      for (uint64_t i = 0; i < n; ++i) out.push_back(in.text(kMaxString, "array string"));
      return out;
    }
    case Type::array:
      break;
  }
  KERF_CHECK(false, "read_array: element type not handled");
  return {};
}

void check_name(const Cursor& in, uint64_t at, std::string_view field, std::string_view name, bool (*allowed)(char), std::string_view charset) {
  if (name.empty()) in.refuse(at, field, "", "empty");
  const auto bad = std::find_if_not(name.begin(), name.end(), allowed);
  if (bad != name.end())
    in.refuse(at, field, fmt::format("only {}", charset),
              fmt::format("byte 0x{:02X} at index {}", static_cast<unsigned char>(*bad), bad - name.begin()), printable(name));
}

Entry read_entry(Cursor& in) {
  const uint64_t at = in.offset();
  Entry entry{.key = in.text(kMaxKeyLength, "key")};
  check_name(
      in, at, "key", entry.key,
      [](char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '.' || c == '-'; },
      "[A-Za-z0-9_.-]");
  entry.type = read_type(in, "type");
  entry.offset = in.offset();
  if (entry.type == Type::array) {
    entry.value = read_array(in, entry.element);
  } else {
    entry.value = read_scalar(in, entry.type);
  }
  return entry;
}

struct RemovedType {
  uint32_t id = 0;
  std::string_view what{};
};
/// Ids that once meant something, or mean something that is never stored. Source: ggml.h's list of types.
constexpr std::array<RemovedType, 10> kRemoved{{{4, "Q4_2, removed in 2023"},
                                                {5, "Q4_3, removed in 2023"},
                                                {9, "Q8_1, for activations only"},
                                                {15, "Q8_K, for activations only"},
                                                {31, "Q4_0_4_4, removed in 2025"},
                                                {32, "Q4_0_4_8, removed in 2025"},
                                                {33, "Q4_0_8_8, removed in 2025"},
                                                {36, "IQ4_NL_4_4, removed in 2025"},
                                                {37, "IQ4_NL_4_8, removed in 2025"},
                                                {38, "IQ4_NL_8_8, removed in 2025"}}};

DType read_dtype(Cursor& in) {
  const uint64_t at = in.offset();
  const uint32_t id = in.u32("type");
  for (const auto& row : kDTypes)
    if (row.gguf_id >= 0 && static_cast<uint32_t>(row.gguf_id) == id) return row.dtype;
  for (const auto& row : kRemoved)
    if (row.id == id) in.refuse(at, "type", "", fmt::format("{} ({})", id, row.what), "convert the original model again");
  in.refuse(at, "type", "", fmt::format("unknown {}", id));
}

TensorInfo read_tensor(Cursor& in, uint64_t alignment, int split) {
  TensorInfo t{.split = split, .info_offset = in.offset()};
  t.name = in.text(kMaxTensorName, "name");
  check_name(
      in, t.info_offset, "name", t.name, [](char c) { return c > ' ' && c < '\x7f'; }, "printable ASCII");

  const uint64_t dims_at = in.offset();
  const uint32_t n_dims = in.u32("n_dims");
  if (n_dims < 1 || n_dims > 4) in.refuse(dims_at, "n_dims", "1..4", fmt::format("{}", n_dims), fmt::format("tensor \"{}\"", t.name));
  const uint64_t ne_at = in.offset();
  uint64_t elements = 1;
  for (uint32_t d = 0; d < n_dims; ++d) {
    const uint64_t at = in.offset();
    const std::string_view field = std::array{"ne[0]", "ne[1]", "ne[2]", "ne[3]"}[d];
    const uint64_t n = in.u64(field);
    if (n < 1) in.refuse(at, field, ">= 1", "0");
    if (n > kMaxDim) in.refuse(at, field, "< 2^48", fmt::format("{}", n));
    const auto product = checked_mul(elements, n);
    if (!product) in.refuse(at, "elements", "", fmt::format("{} * {} overflows", elements, n));
    elements = *product;
    t.desc.shape[3 - d] = static_cast<int64_t>(n);
  }

  const uint64_t type_at = in.offset();
  t.desc.dtype = read_dtype(in);
  const auto& format = info(t.desc.dtype);
  const auto block_values = static_cast<uint64_t>(format.block_values), block_bytes = static_cast<uint64_t>(format.block_bytes);
  if (t.desc.cols() % format.block_values != 0)
    in.refuse(ne_at, "ne[0]", "", fmt::format("{} is not a multiple of {} ({})", t.desc.cols(), block_values, format.name));
  const auto bytes = checked_mul(elements / block_values, block_bytes);
  if (!bytes) in.refuse(type_at, "bytes", "", fmt::format("{} * {} overflows", elements / block_values, block_bytes));
  const auto padded = align_up(*bytes, alignment);
  if (!padded || *padded > uint64_t{INT64_MAX}) in.refuse(type_at, "bytes", "", fmt::format("align_up({}, {}) overflows", *bytes, alignment));

  const uint64_t offset_at = in.offset();
  t.offset = in.u64("offset");
  if (t.offset % alignment != 0) in.refuse(offset_at, "offset", "", fmt::format("{} is not a multiple of {}", t.offset, alignment));
  if (const auto end = checked_add(t.offset, *padded); !end || *end > uint64_t{INT64_MAX})
    in.refuse(offset_at, "offset", "", fmt::format("{} + {} overflows", t.offset, *padded));
  return t;
}

void read_alignment(const Cursor& in, Parsed& out) {
  for (const Entry& e : out.metadata) {
    if (e.key != "general.alignment") continue;
    if (e.type != Type::u32) in.refuse(e.offset, e.key, "u32", std::string(name_of(e.type)));
    const uint64_t a = std::get<uint64_t>(std::get<Scalar>(e.value));
    if (a < kMinAlignment || a > kMaxAlignment || (a & (a - 1)) != 0)
      in.refuse(e.offset, e.key, fmt::format("power of two {}..{}", kMinAlignment, kMaxAlignment), fmt::format("{}", a));
    out.alignment = a;
  }
}

void check_magic(std::span<const std::byte> head, Cursor& in) {
  const auto magic = in.bytes(4, "magic");
  if (std::memcmp(magic.data(), "GGUF", 4) == 0) return;
  std::string found;
  const std::string_view text(reinterpret_cast<const char*>(magic.data()), magic.size());
  if (std::all_of(text.begin(), text.end(), [](char c) { return c >= ' ' && c < '\x7f'; })) {
    found = fmt::format("\"{}\"", text);
  } else {
    for (const char c : text) found += fmt::format("{}{:02x}", found.empty() ? "" : " ", static_cast<unsigned char>(c));
  }
  in.refuse(0, "magic", "\"GGUF\"", found, std::string(recognise(head)));
}

}  // namespace

std::string_view name_of(Type type) { return kTypes[static_cast<size_t>(type)].name; }

size_t length(const Array& array) {
  return std::visit([](const auto& items) { return items.size(); }, array);
}

Counts parse_counts(std::span<const std::byte> head, uint64_t file_size, const std::string& path) {
  Cursor in(head, path);
  if (file_size == 0) in.refuse(0, "size", fmt::format(">= {} bytes", kHeaderBytes), "0");
  check_magic(head, in);
  Counts counts;
  counts.version = in.u32("version");
  if (counts.version != 0 && (counts.version & 0xFFFF) == 0)
    in.refuse(4, "version", "2..3", fmt::format("0x{:08x}", counts.version), "big-endian file; convert it for little-endian machines");
  if (counts.version < 2 || counts.version > 3) in.refuse(4, "version", "2..3", fmt::format("{}", counts.version));
  const uint64_t tensors_at = in.offset();
  counts.tensors = in.u64("n_tensors");
  const uint64_t keys_at = in.offset();
  counts.keys = in.u64("n_kv");
  // A count that is small but does not fit the file is a cut file: reading on finds the place, and allocates nothing for
  // entries that can not be there (reserve below).
  const uint64_t left = file_size - in.offset();
  auto bound = [&](uint64_t at, std::string_view field, uint64_t n, uint64_t each, uint64_t limit) {
    if (n <= limit) return;
    const std::string most = left / each < limit ? fmt::format("<= remaining/{} = {}", each, left / each) : fmt::format("<= {}", limit);
    in.refuse(at, field, most, fmt::format("{}", n));
  };
  bound(tensors_at, "n_tensors", counts.tensors, kMinTensorBytes, kMaxTensors);
  bound(keys_at, "n_kv", counts.keys, kMinKeyBytes, kMaxKeys);
  return counts;
}

Parsed parse(std::span<const std::byte> bytes, const std::string& path, int split) {
  const Counts counts = parse_counts(bytes.first(std::min<size_t>(bytes.size(), kHeaderBytes)), bytes.size(), path);
  Cursor in(bytes, path);
  in.bytes(kHeaderBytes, "header");
  Parsed out;
  out.version = counts.version;
  out.metadata.reserve(std::min(counts.keys, in.remaining() / kMinKeyBytes));
  for (uint64_t i = 0; i < counts.keys; ++i) {
    in.enter("kv", i);
    out.metadata.push_back(read_entry(in));
  }
  out.by_key = sorted_by(out.metadata.size(), [&](uint32_t i) { return out.metadata[i].key; });
  for (size_t i = 1; i < out.by_key.size(); ++i) {
    const Entry &first = out.metadata[out.by_key[i - 1]], &second = out.metadata[out.by_key[i]];
    if (first.key != second.key) continue;
    in.enter("kv", out.by_key[i]);
    in.refuse(second.offset, fmt::format("key \"{}\"", printable(second.key)), "", fmt::format("duplicate of kv[{}]", out.by_key[i - 1]));
  }
  in.enter("", 0);
  read_alignment(in, out);

  out.tensors.reserve(std::min(counts.tensors, in.remaining() / kMinTensorBytes));
  for (uint64_t i = 0; i < counts.tensors; ++i) {
    in.enter("tensor", i);
    try {
      out.tensors.push_back(read_tensor(in, out.alignment, split));
    } catch (const FileError& error) {
      if (i != 0 || !error.at.hint.empty()) throw;
      FileError::At at = error.at;
      at.hint = fmt::format("or n_kv is wrong: it says {} keys", counts.keys);
      throw FileError(std::move(at));
    }
  }
  out.header_end = in.offset();
  return out;
}

const Entry* find(const Parsed& parsed, std::string_view key) {
  const auto name = [&](uint32_t i) { return parsed.metadata[i].key; };
  const auto at = std::lower_bound(parsed.by_key.begin(), parsed.by_key.end(), key, [&](uint32_t i, std::string_view k) { return name(i) < k; });
  return at != parsed.by_key.end() && name(*at) == key ? &parsed.metadata[*at] : nullptr;
}

}  // namespace kerf::gguf
