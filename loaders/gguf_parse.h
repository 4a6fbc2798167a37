// The parts of reading one GGUF file, in the order they are used: what the first bytes say, the header, the layout of
// the data. Internal to the container; users include gguf.h.
#pragma once
#include <algorithm>
#include <cstdint>
#include <numeric>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "loaders/gguf.h"

namespace kerf::gguf {

// Limits. They are far above what real models use (the largest seen: 1,200 tensors, 262,144 tokens) and small enough
// that a lie costs nothing.
inline constexpr uint64_t kMaxKeys = 65'536, kMaxTensors = 1'000'000, kMaxKeyLength = 65'535, kMaxTensorName = 63;
inline constexpr uint64_t kMaxString = uint64_t{64} << 20, kMaxDim = (uint64_t{1} << 48) - 1;
inline constexpr uint64_t kMinAlignment = 8, kMaxAlignment = 65'536, kDefaultAlignment = 32;
// The smallest entries: key length 8, one byte of key, type 4, one byte of value; name length 8, one byte of name,
// dimension count 4, one dimension 8, type 4, offset 8.
inline constexpr uint64_t kMinKeyBytes = 14, kMinTensorBytes = 33, kHeaderBytes = 24;

struct Counts {
  uint32_t version = 0;
  uint64_t tensors = 0, keys = 0;
};

struct Parsed {
  uint32_t version = 0;
  uint64_t alignment = kDefaultAlignment;
  uint64_t header_end = 0;  // the data starts at the next multiple of the alignment
  std::vector<Entry> metadata{};
  std::vector<TensorInfo> tensors{};  // offsets from the start of the file
  std::vector<uint32_t> by_key{};     // positions in metadata, sorted by key
};

/// What a file that does not start with "GGUF" looks like, in words for the user; "" if nothing is recognised.
std::string_view recognise(std::span<const std::byte> head);

/// Magic, version and counts. `file_size` bounds the counts: `head` may be the first 24 bytes only.
/// @throws FileError
Counts parse_counts(std::span<const std::byte> head, uint64_t file_size, const std::string& path);

/// Metadata and tensor entries of one file, every field checked; the views point into `bytes`.
/// @throws FileError
Parsed parse(std::span<const std::byte> bytes, const std::string& path, int split);

/// The entry of that key, or null.
const Entry* find(const Parsed& parsed, std::string_view key);

/// Turns offsets relative to the data section (which starts at the next multiple of the alignment after the header)
/// into offsets in the file: in range, no overlap, no gap. Bytes after the last tensor are a warning, or an error if strict.
/// @throws FileError
void check_layout(Parsed& parsed, uint64_t file_size, const std::string& path, bool strict, std::vector<std::string>& warnings);

/// Positions 0..n-1 sorted by name(i), equal names by position.
template <class Name>
std::vector<uint32_t> sorted_by(size_t n, Name name) {
  std::vector<uint32_t> order(n);
  std::iota(order.begin(), order.end(), 0u);
  std::sort(order.begin(), order.end(), [&](uint32_t a, uint32_t b) {
    const auto x = name(a), y = name(b);
    return x != y ? x < y : a < b;
  });
  return order;
}

/// The name of part `index` of a split model, or of the whole family. PREFIX-00001-of-00003.gguf
struct SplitName {
  std::string prefix{};
  uint32_t number = 0, count = 0;  // number from 1
  std::string part(uint32_t n) const;
};
/// nullopt if the file name has no such form.
std::optional<SplitName> split_name(const std::string& path);

/// split.count and split.no against each other and the file name. @return the number of files, 1 for an unsplit model.
/// @throws FileError; if PATH is a later part, the hint names the first.
uint32_t split_count(const Parsed& first, const std::string& path);
/// The same keys of file number `no` (from 0) of `count`. @throws FileError
void check_split_part(const Parsed& part, uint32_t no, uint32_t count, const std::string& path);
/// split.tensors.count against what was found. @throws FileError
void check_split_total(const Parsed& first, uint64_t tensors, const std::string& path);

}  // namespace kerf::gguf
