#include "loaders/gguf.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "core/error.h"
#include "core/text.h"
#include "loaders/file.h"
#include "loaders/gguf_parse.h"

namespace kerf::gguf {

struct File::State {
  struct Part {
    std::string path{};
    Memory memory{};                     // empty for bytes of the caller
    std::span<const std::byte> bytes{};  // of the whole file
  };
  std::vector<Part> parts{};
  Parsed first{};                     // without its tensors: they are in `tensors`
  std::vector<TensorInfo> tensors{};  // of all parts
  std::vector<uint32_t> by_name{};
  std::vector<std::string> warnings{};
  bool mapped = false;
};

namespace {

/// Opens, checks the first bytes (a terabyte of zeros is refused before it is read) and takes in one file.
Memory load(const OpenFile& file, Access access) {
  std::array<std::byte, kHeaderBytes> head{};
  const auto start = std::span(head).first(std::min<size_t>(file.size(), head.size()));
  file.read(0, start);
  parse_counts(start, file.size(), file.path());
  return access == Access::mmap ? Memory::map(file) : Memory::copy(file);
}

std::string missing_part(const std::string& path, uint32_t number, uint32_t count) {
  return fmt::format("split {} of {}: file \"{}\"", number, count, printable(std::filesystem::path(path).filename().string()));
}

}  // namespace

File File::open(const std::filesystem::path& path, Options options) {
  auto state = std::make_unique<State>();
  state->mapped = options.access == Access::mmap;
  uint32_t count = 1;
  for (uint32_t no = 0; no < count; ++no) {
    std::string part_path = path.string();
    if (no > 0) {
      part_path = split_name(part_path)->part(no + 1);
      std::error_code failed;
      if (!std::filesystem::exists(part_path, failed) && !failed)
        throw FileError({.path = path.string(),
                         .offset = gguf::find(state->first, "split.count")->offset,
                         .field = missing_part(part_path, no + 1, count),
                         .found = "not found"});
    }
    const OpenFile file(part_path);
    auto& part = state->parts.emplace_back(State::Part{.path = part_path, .memory = load(file, options.access)});
    part.bytes = part.memory.bytes();
    Parsed parsed = parse(part.bytes, part.path, static_cast<int>(no));
    check_layout(parsed, part.bytes.size(), part.path, options.strict, state->warnings);
    if (no > 0) check_split_part(parsed, no, count, part.path);
    if (auto change = file.changed()) state->warnings.push_back(*std::move(change));
    if (no > 0) {
      state->tensors.insert(state->tensors.end(), parsed.tensors.begin(), parsed.tensors.end());
    } else {
      state->tensors = std::move(parsed.tensors);
      state->first = std::move(parsed);
      count = split_count(state->first, part.path);
    }
  }
  return finish(std::move(state));
}

File File::from_bytes(std::span<const std::byte> bytes, std::string name, Options options) {
  auto state = std::make_unique<State>();
  auto& part = state->parts.emplace_back(State::Part{.path = std::move(name), .bytes = bytes});
  Parsed parsed = parse(bytes, part.path, 0);
  check_layout(parsed, bytes.size(), part.path, options.strict, state->warnings);
  if (const uint32_t count = split_count(parsed, part.path); count > 1)
    throw FileError({.path = part.path,
                     .offset = gguf::find(parsed, "split.count")->offset,
                     .field = "split.count",
                     .expected = "1 for a model in memory",
                     .found = fmt::format("{}", count)});
  state->tensors = std::move(parsed.tensors);
  state->first = std::move(parsed);
  return finish(std::move(state));
}

File File::finish(std::unique_ptr<State> state) {
  const std::string& path = state->parts.front().path;
  check_split_total(state->first, state->tensors.size(), path);
  const auto& tensors = state->tensors;
  state->by_name = sorted_by(tensors.size(), [&](uint32_t i) { return tensors[i].name; });
  for (size_t i = 1; i < tensors.size(); ++i) {
    const uint32_t first = state->by_name[i - 1], second = state->by_name[i];
    if (tensors[first].name == tensors[second].name)
      throw FileError({.path = state->parts[static_cast<size_t>(tensors[second].split)].path,
                       .offset = tensors[second].info_offset,
                       .field = fmt::format("tensor[{}].name", second),
                       .found = fmt::format("duplicate of tensor[{}]", first),
                       .hint = std::string(tensors[second].name)});
  }
  return File(std::move(state));
}

File::File(std::unique_ptr<State> state) : state_(std::move(state)) {}
File::File(File&&) noexcept = default;
File& File::operator=(File&&) noexcept = default;
File::~File() = default;

const std::string& File::path(int split) const { return state_->parts.at(static_cast<size_t>(split)).path; }
int File::splits() const { return static_cast<int>(state_->parts.size()); }
uint32_t File::version() const { return state_->first.version; }
uint64_t File::alignment() const { return state_->first.alignment; }

uint64_t File::bytes() const {
  uint64_t sum = 0;
  for (const auto& part : state_->parts) sum += part.bytes.size();
  return sum;
}

std::span<const Entry> File::metadata() const { return state_->first.metadata; }
const Entry* File::find(std::string_view key) const { return gguf::find(state_->first, key); }
std::span<const TensorInfo> File::tensors() const { return state_->tensors; }

const TensorInfo* File::tensor(std::string_view name) const {
  const auto& order = state_->by_name;
  const auto at = std::lower_bound(order.begin(), order.end(), name, [&](uint32_t i, std::string_view n) { return state_->tensors[i].name < n; });
  return at != order.end() && state_->tensors[*at].name == name ? &state_->tensors[*at] : nullptr;
}

std::span<const std::byte> File::data(const TensorInfo& t) const {
  const auto& bytes = state_->parts.at(static_cast<size_t>(t.split)).bytes;
  const auto size = static_cast<uint64_t>(t.desc.bytes());
  KERF_CHECK(t.offset <= bytes.size() && size <= bytes.size() - t.offset, "a TensorInfo that is not of this file");
  return bytes.subspan(t.offset, size);
}

void File::release(const TensorInfo& t) const { state_->parts.at(static_cast<size_t>(t.split)).memory.release(data(t)); }

const std::vector<std::string>& File::warnings() const { return state_->warnings; }

std::vector<File::Mapping> File::mappings() const {
  std::vector<Mapping> out;
  if (!state_->mapped) return out;
  for (const auto& part : state_->parts) out.push_back({.data = part.bytes.data(), .size = part.bytes.size(), .path = part.path});
  return out;
}

}  // namespace kerf::gguf
