// Reading a file's header takes memory in proportion to the file, whatever the file claims: at most four times its size,
// plus 4 MiB (65,536 keys of 14 bytes each cost six times their bytes). Every allocation of this program is counted.
#include <fmt/format.h>
#include <malloc.h>

#include <algorithm>
#include <cstdlib>
#include <ctime>
#include <new>

#include "core/error.h"
#include "loaders/gguf.h"
#include "loaders/hparams.h"
#include "tests/catch.h"
#include "tests/loaders/hostile_gguf.h"

namespace {
size_t live = 0, peak = 0;  // one thread only
}  // namespace

void* operator new(size_t n, const std::nothrow_t&) noexcept {
  void* p = std::malloc(n ? n : 1);
  if (p) live += malloc_usable_size(p);
  peak = std::max(peak, live);
  return p;
}
void* operator new(size_t n) {
  if (void* p = operator new(n, std::nothrow)) return p;
  throw std::bad_alloc();
}
void operator delete(void* p) noexcept {
  if (p) live -= malloc_usable_size(p);
  std::free(p);
}
void operator delete(void* p, size_t) noexcept { operator delete(p); }
void operator delete(void* p, const std::nothrow_t&) noexcept { operator delete(p); }

namespace kerf::test {
namespace {

struct Cost {
  size_t bytes = 0;
  double seconds = 0;
  bool refused = false;
};
Cost cost_of(const std::string& file) {
  const std::clock_t start = std::clock();  // processor time: other programs do not count
  const size_t before = live;
  peak = live;
  Cost cost;
  try {
    read_hparams(gguf::File::from_bytes(std::as_bytes(std::span(file.data(), file.size())), "m.gguf"));
  } catch (const FileError&) {
    cost.refused = true;
  }
  cost.bytes = peak - before;
  cost.seconds = static_cast<double>(std::clock() - start) / CLOCKS_PER_SEC;
  return cost;
}

constexpr size_t kSlack = size_t{4} << 20;

std::string with_key(const std::string& name, const std::string& value) {
  auto w = tiny_llama();
  w.add(name, kArray, value);
  return w.bytes();
}

}  // namespace

TEST_CASE("no hostile file costs more than four times its size") {
  for (const auto& c : hostile_corpus())
    for (const auto& [name, bytes] : c.files) {
      const Cost cost = cost_of(bytes);
      CAPTURE(c.id, bytes.size(), cost.bytes, cost.seconds);
      CHECK(cost.bytes <= 4 * bytes.size() + kSlack);
      CHECK(cost.seconds < 1);
    }
}

TEST_CASE("the costliest legal files stay within four times their size") {
  constexpr size_t n = size_t{4} << 20;
  const std::vector<std::pair<const char*, std::string>> files{
      {"u8[]", with_key("x", raw(uint32_t{kU8}) + raw(uint64_t{n}) + std::string(n, '\x01'))},
      {"bool[]", with_key("x", raw(uint32_t{kBool}) + raw(uint64_t{n}) + std::string(n, '\x01'))},
      {"i16[]", with_key("x", raw(uint32_t{kI16}) + raw(uint64_t{n}) + std::string(2 * n, '\x01'))},
      {"f32[]", with_key("x", raw(uint32_t{kF32}) + raw(uint64_t{n}) + std::string(4 * n, '\0'))},
      {"empty strings", with_key("x", raw(uint32_t{kString}) + raw(uint64_t{n}) + std::string(8 * n, '\0'))},
  };
  for (const auto& [name, bytes] : files) {
    const Cost cost = cost_of(bytes);
    CAPTURE(name, bytes.size(), cost.bytes);
    CHECK_FALSE(cost.refused);
    CHECK(cost.bytes <= 4 * bytes.size() + (size_t{1} << 20));
  }
}

TEST_CASE("65536 keys and 200000 tensors open in less than a second") {
  auto keys = tiny_llama();
  for (int i = static_cast<int>(keys.keys.size()); i < 65'536; ++i) keys.add(fmt::format("x{}", i), kU8, "a");
  auto tensors = tiny_llama();
  for (int i = 0; i < 200'000; ++i) tensors.tensors.push_back({.name = fmt::format("t{}", i), .ne = {1}, .data = std::string(4, '\0')});
  for (const auto& bytes : {keys.bytes(), tensors.bytes()}) {
    const Cost cost = cost_of(bytes);
    CAPTURE(bytes.size(), cost.bytes, cost.seconds);
    CHECK_FALSE(cost.refused);
    CHECK(cost.bytes <= 4 * bytes.size() + kSlack);
    CHECK(cost.seconds < 1);
  }
}

}  // namespace kerf::test
