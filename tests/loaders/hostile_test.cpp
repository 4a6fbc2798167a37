// Every row of the hostile corpus gets the decision written beside it, with the words that name the fault. And no cut
// or flipped copy of a good file does anything but open or be refused.
#include <ctime>
#include <iostream>
#include <random>
#include <set>

#include "core/error.h"
#include "tests/catch.h"
#include "tests/loaders/hostile_gguf.h"
#include "tests/loaders/open_everything.h"
#include "tests/loaders/temp_dir.h"

namespace kerf::test {
namespace {

std::span<const std::byte> as_bytes(const std::string& s) { return std::as_bytes(std::span(s.data(), s.size())); }

/// "" if everything opened, else the refusal. Anything but a FileError passes through and fails the test.
std::string refusal_of(std::span<const std::byte> bytes) {
  try {
    open_everything(gguf::File::from_bytes(bytes, "m.gguf"));
    return "";
  } catch (const FileError& e) {
    return e.what();
  }
}

std::string joined(const std::vector<std::string>& lines) {
  std::string all;
  for (const auto& line : lines) all += line + "\n";
  return all;
}

struct Outcome {
  bool refused = false;
  std::string text{};
  double seconds = 0;
};
Outcome outcome_of(const std::filesystem::path& path, gguf::Options options, bool check) {
  const std::clock_t start = std::clock();  // processor time: other programs do not count
  Outcome out;
  try {
    out.text = joined(open_everything(path, options, check));
  } catch (const FileError& e) {
    out.refused = true;
    out.text = e.what();
    CHECK(e.at.path.starts_with(path.parent_path().string()));
    CHECK(e.kind == ErrorKind::bad_file);
  }
  out.seconds = static_cast<double>(std::clock() - start) / CLOCKS_PER_SEC;
  return out;
}

}  // namespace

TEST_CASE("the tiny models open without a warning") {
  for (const uint32_t type : {0u, 1u, 2u, 8u})
    for (const bool bpe : {false, true}) {
      CAPTURE(type, bpe);
      const auto bytes = tiny_llama({.matrix_type = type, .bpe = bpe, .layers = 2}).bytes();
      CHECK(joined(open_everything(gguf::File::from_bytes(as_bytes(bytes), "m.gguf"), true, true)).empty());
    }
}

TEST_CASE("hostile files are decided as listed") {
  const auto corpus = hostile_corpus();
  CHECK(corpus.size() == 149);
  std::set<std::string> ids;
  for (const auto& c : corpus) {
    CAPTURE(c.id, c.name);
    CHECK(ids.insert(c.id).second);
    const TempDir folder;
    for (const auto& [name, bytes] : c.files) folder.write(name, bytes);
    const auto path = folder / c.files.front().first;
    for (const auto access : {gguf::Access::mmap, gguf::Access::read}) {
      const auto out = outcome_of(path, {.access = access}, c.check);
      CAPTURE(out.text);
      CHECK(out.refused == (c.decision == Decision::refused));
      for (const auto& part : c.says) CHECK(out.text.find(part) != std::string::npos);
      if (out.refused && c.offset) CHECK(out.text.find("offset ") != std::string::npos);
      CHECK(out.text.find('\x1b') == std::string::npos);
      CHECK(out.seconds < 1);
    }
  }
}

TEST_CASE("strict turns warnings about unused bytes and tensors into refusals") {
  for (const auto& c : hostile_corpus()) {
    if (c.id != "T26" && c.id != "M21") continue;
    const TempDir folder;
    const auto out = outcome_of(folder.write(c.files[0].first, c.files[0].second), {.strict = true}, false);
    CAPTURE(out.text);
    CHECK(out.refused);
    CHECK(out.text.find("offset ") != std::string::npos);
    for (const auto& part : c.says) CHECK(out.text.find(part) != std::string::npos);
  }
}

TEST_CASE("a model cut at any byte is refused with path and offset") {
  for (const bool bpe : {false, true}) {
    const auto bytes = tiny_llama({.matrix_type = 2, .bpe = bpe}).bytes();
    // The file ends with its last tensor: 64 rows of q4_0 blocks fill whole alignments, so no padding can be cut off.
    for (size_t cut = 0; cut < bytes.size(); ++cut) {
      const auto text = refusal_of(as_bytes(bytes).first(cut));
      if (text.starts_with("m.gguf: offset ")) continue;
      CAPTURE(cut, text);
      FAIL("not refused with its place");
    }
    CHECK(refusal_of(as_bytes(bytes)).empty());
  }
}

TEST_CASE("a flipped bit opens or is refused, nothing else") {
  constexpr uint64_t kSeed = 0x6B657266u;
  std::cout << "bit flips: seed " << kSeed << "\n";
  std::mt19937_64 random(kSeed);
  std::string bytes = tiny_llama({.matrix_type = 2}).bytes();
  size_t refused = 0, tried = 0;
  for (size_t bit = random() % 8; bit < 8 * 4096; bit += 1 + random() % 7) {
    bytes[bit / 8] = static_cast<char>(bytes[bit / 8] ^ (1 << bit % 8));
    CAPTURE(bit);
    REQUIRE_NOTHROW(refused += !refusal_of(as_bytes(bytes)).empty());
    bytes[bit / 8] = static_cast<char>(bytes[bit / 8] ^ (1 << bit % 8));
    ++tried;
  }
  CHECK(tried > 6000);
  CHECK(refused > tried / 4);
  CHECK(refusal_of(as_bytes(bytes)).empty());
}

}  // namespace kerf::test
