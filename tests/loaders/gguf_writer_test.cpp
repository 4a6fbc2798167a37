// The writer against the reader: what goes in comes out, where it should be.
#include "loaders/gguf_writer.h"

#include <algorithm>
#include <cstring>
#include <string>
#include <vector>

#include "core/error.h"
#include "loaders/gguf.h"
#include "tests/catch.h"

namespace kerf::gguf {
namespace {

template <class T>
T scalar(const File& file, std::string_view key) {
  const Entry* entry = file.find(key);
  REQUIRE(entry);
  return std::get<T>(std::get<Scalar>(entry->value));
}

template <class T>
std::vector<T> array(const File& file, std::string_view key) {
  const Entry* entry = file.find(key);
  REQUIRE(entry);
  return std::get<std::vector<T>>(std::get<Array>(entry->value));
}

TEST_CASE("what is written is read") {
  Writer w;
  w.text("general.architecture", "llama");
  w.u32("a", 0xFFFFFFFF);
  w.f32("b", 1e-5f);
  const std::vector<int32_t> sections{11, -11, 10, 0};
  w.i32s("c", sections);
  w.booleans("d", {true, false, true});
  const std::vector<TensorDesc> tensors{
      vector_of(DType::f32, 3), matrix(DType::q4_0, 5, 64), {DType::q6_k, {1, 4, 2, 256}}, matrix(DType::f16, 1, 7)};
  for (size_t i = 0; i < tensors.size(); ++i) w.tensor("t" + std::to_string(i), tensors[i]);

  std::string bytes = w.header();
  REQUIRE(static_cast<int64_t>(bytes.size()) == w.offset(0));
  bytes.resize(static_cast<size_t>(w.bytes()));
  for (size_t i = 0; i < tensors.size(); ++i)
    std::memset(bytes.data() + w.offset(i), static_cast<int>(i + 1), static_cast<size_t>(tensors[i].bytes()));
  const File file = File::from_bytes(std::as_bytes(std::span(bytes)), "written", {.strict = true});  // strict: not one byte that is not accounted for
  CHECK(file.version() == 3);
  CHECK(scalar<std::string_view>(file, "general.architecture") == "llama");
  CHECK(scalar<uint64_t>(file, "a") == 0xFFFFFFFF);
  CHECK(scalar<double>(file, "b") == double{1e-5f});
  CHECK(array<int64_t>(file, "c") == std::vector<int64_t>{11, -11, 10, 0});
  CHECK(array<bool>(file, "d") == std::vector<bool>{true, false, true});
  REQUIRE(file.tensors().size() == tensors.size());
  for (size_t i = 0; i < tensors.size(); ++i) {
    const TensorInfo& t = file.tensors()[i];
    CHECK(t.name == "t" + std::to_string(i));
    CHECK(t.desc == tensors[i]);
    CHECK(t.offset == static_cast<uint64_t>(w.offset(i)));
    CHECK(t.offset % Writer::kAlignment == 0);
    const auto data = file.data(t);
    CHECK(std::count(data.begin(), data.end(), static_cast<std::byte>(i + 1)) == tensors[i].bytes());
  }
}

TEST_CASE("what a file can not hold is refused") {
  Writer w;
  CHECK_THROWS(w.u32("n", -1));
  CHECK_THROWS(w.u32("n", int64_t{1} << 32));
  CHECK_THROWS(w.tensor(std::string(64, 'x'), vector_of(DType::f32, 1)));
  CHECK_THROWS(w.tensor("t", vector_of(DType::q8_g16, 32)));
  Writer keys, names;
  keys.u32("same", 1);
  keys.u32("same", 1);
  CHECK_THROWS(keys.header());
  names.tensor("same", vector_of(DType::f32, 1));
  names.tensor("same", vector_of(DType::f32, 1));
  CHECK_THROWS(names.header());
}

}  // namespace
}  // namespace kerf::gguf
