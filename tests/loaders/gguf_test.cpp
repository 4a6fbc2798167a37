// Files as they should be: every value type, shapes, both ways of reading, alignment, versions, split models.
#include <fmt/format.h>

#include <cstring>

#include "core/error.h"
#include "loaders/gguf.h"
#include "tests/catch.h"
#include "tests/loaders/temp_dir.h"
#include "tests/loaders/tiny_model.h"

namespace kerf::test {
namespace {

std::span<const std::byte> as_bytes(const std::string& s) { return std::as_bytes(std::span(s.data(), s.size())); }

template <class T>
T scalar(const gguf::File& f, std::string_view key) {
  const auto* e = f.find(key);
  REQUIRE(e);
  return std::get<T>(std::get<gguf::Scalar>(e->value));
}
template <class T>
T array(const gguf::File& f, std::string_view key) {
  const auto* e = f.find(key);
  REQUIRE(e);
  return std::get<T>(std::get<gguf::Array>(e->value));
}

void check_same_tensors(const gguf::File& file, const GgufWriter& w) {
  REQUIRE(file.tensors().size() == w.tensors.size());
  for (const auto& expected : w.tensors) {
    const auto* t = file.tensor(expected.name);
    REQUIRE(t);
    const auto data = file.data(*t);
    REQUIRE(data.size() == expected.data.size());
    CHECK(std::memcmp(data.data(), expected.data.data(), data.size()) == 0);
  }
}

}  // namespace

TEST_CASE("every value type is read with its width and sign") {
  GgufWriter w;
  w.set("u8", kU8, raw(uint8_t{200}));
  w.set("i8", kI8, raw(int8_t{-100}));
  w.set("u16", kU16, raw(uint16_t{60000}));
  w.set("i16", kI16, raw(int16_t{-30000}));
  w.set("u32", kU32, raw(uint32_t{4000000000u}));
  w.set("i32", kI32, raw(int32_t{-2000000000}));
  w.set("f32", kF32, raw(1.5f));
  w.set("yes", kBool, raw(uint8_t{1}));
  w.text("text", std::string("a\0b\xFF", 4));
  w.set("u64", kU64, raw(~0ull));
  w.set("i64", kI64, raw(INT64_MIN));
  w.set("f64", kF64, raw(1e300));
  w.set("a.u8", kArray, raw_array(kU8, std::vector<uint8_t>{1, 255}));
  w.set("a.i8", kArray, raw_array(kI8, std::vector<int8_t>{-1, 127}));
  w.set("a.u16", kArray, raw_array(kU16, std::vector<uint16_t>{1, 65535}));
  w.set("a.i16", kArray, raw_array(kI16, std::vector<int16_t>{-1, 2}));
  w.set("a.u32", kArray, raw_array(kU32, std::vector<uint32_t>{~0u}));
  w.i32s("a.i32", {-7, 7});
  w.f32s("a.f32", {0.25f});
  w.set("a.bool", kArray, raw_array(kBool, std::vector<uint8_t>{1, 0, 1}));
  w.texts("a.text", {"", "xy"});
  w.set("a.u64", kArray, raw_array(kU64, std::vector<uint64_t>{~0ull}));
  w.set("a.i64", kArray, raw_array(kI64, std::vector<int64_t>{INT64_MIN}));
  w.set("a.f64", kArray, raw_array(kF64, std::vector<double>{0.1}));
  w.set("a.empty", kArray, raw_array(kU64, std::vector<uint64_t>{}));
  const auto bytes = w.bytes();
  const auto f = gguf::File::from_bytes(as_bytes(bytes), "m");

  CHECK(scalar<uint64_t>(f, "u8") == 200);
  CHECK(scalar<int64_t>(f, "i8") == -100);
  CHECK(scalar<uint64_t>(f, "u16") == 60000);
  CHECK(scalar<int64_t>(f, "i16") == -30000);
  CHECK(scalar<uint64_t>(f, "u32") == 4000000000u);
  CHECK(scalar<int64_t>(f, "i32") == -2000000000);
  CHECK(scalar<double>(f, "f32") == 1.5);
  CHECK(scalar<bool>(f, "yes"));
  CHECK(scalar<std::string_view>(f, "text") == std::string_view("a\0b\xFF", 4));
  CHECK(scalar<uint64_t>(f, "u64") == ~0ull);
  CHECK(scalar<int64_t>(f, "i64") == INT64_MIN);
  CHECK(scalar<double>(f, "f64") == 1e300);
  CHECK(array<gguf::Bytes>(f, "a.u8")[1] == std::byte{255});
  CHECK(array<gguf::Bytes>(f, "a.i8")[0] == std::byte{255});
  CHECK(array<std::vector<uint64_t>>(f, "a.u16") == std::vector<uint64_t>{1, 65535});
  CHECK(array<std::vector<int64_t>>(f, "a.i16") == std::vector<int64_t>{-1, 2});
  CHECK(array<std::vector<uint64_t>>(f, "a.u32") == std::vector<uint64_t>{~0u});
  CHECK(array<std::vector<int64_t>>(f, "a.i32") == std::vector<int64_t>{-7, 7});
  CHECK(array<std::vector<double>>(f, "a.f32") == std::vector<double>{0.25});
  CHECK(array<std::vector<bool>>(f, "a.bool") == std::vector<bool>{true, false, true});
  CHECK(array<std::vector<std::string_view>>(f, "a.text") == std::vector<std::string_view>{"", "xy"});
  CHECK(array<std::vector<uint64_t>>(f, "a.u64") == std::vector<uint64_t>{~0ull});
  CHECK(array<std::vector<int64_t>>(f, "a.i64") == std::vector<int64_t>{INT64_MIN});
  CHECK(array<std::vector<double>>(f, "a.f64") == std::vector<double>{0.1});
  CHECK(gguf::length(std::get<gguf::Array>(f.find("a.empty")->value)) == 0);
  CHECK(f.find("a.u32")->element == gguf::Type::u32);
  CHECK(f.find("u8")->type == gguf::Type::u8);
  CHECK(f.find("none") == nullptr);
  CHECK(f.metadata().size() == w.keys.size());
  // The offset of a value points at its bytes.
  CHECK(bytes.substr(f.find("u32")->offset, 4) == raw(uint32_t{4000000000u}));
}

TEST_CASE("shapes are turned round: GGUF's innermost dimension comes last") {
  GgufWriter w;
  w.tensors.push_back({.name = "t", .type = 2, .ne = {64, 3, 2, 5}, .data = std::string(2 * 18 * 30, 'q')});
  const auto bytes = w.bytes();
  const auto f = gguf::File::from_bytes(as_bytes(bytes), "m");
  CHECK(f.tensor("t")->desc == TensorDesc{DType::q4_0, {5, 2, 3, 64}});
  CHECK(f.tensor("t")->offset == w.data_start());
  CHECK(f.tensor("s") == nullptr);
}

TEST_CASE("both ways of reading give the same bytes; only mmap has mappings") {
  const TempDir dir;
  const auto w = tiny_llama({.matrix_type = 1, .layers = 3});
  const auto path = dir.write("m.gguf", w.bytes());
  const auto mapped = gguf::File::open(path), copied = gguf::File::open(path, {.access = gguf::Access::read});
  check_same_tensors(mapped, w);
  check_same_tensors(copied, w);
  CHECK(mapped.bytes() == w.bytes().size());
  CHECK(mapped.path() == path.string());
  REQUIRE(mapped.mappings().size() == 1);
  CHECK(mapped.mappings()[0].size == w.bytes().size());
  CHECK(copied.mappings().empty());
}

TEST_CASE("alignment, version 2, tensors listed in another order, a last tensor without padding") {
  auto w = tiny_llama();
  w.version = 2;
  w.alignment = 256;
  w.u32("general.alignment", 256);
  uint64_t next = 0;
  for (auto& t : w.tensors) {
    t.offset = next;
    next += w.padded(t.data.size());
  }
  const std::string data = w.bytes().substr(w.data_start());
  std::swap(w.tensors[2], w.tensors[9]);  // entries only: each keeps its offset
  std::string bytes = w.header();
  bytes.resize(w.padded(bytes.size()));
  bytes += data;
  const auto f = gguf::File::from_bytes(as_bytes(bytes), "m");
  CHECK(f.version() == 2);
  CHECK(f.alignment() == 256);
  check_same_tensors(f, w);

  GgufWriter odd;
  odd.tensors.push_back({.name = "t", .ne = {3}, .data = std::string(12, 'x')});
  const auto unpadded = odd.bytes().substr(0, odd.data_start() + 12);
  CHECK(gguf::File::from_bytes(as_bytes(unpadded), "m").warnings().empty());
}

TEST_CASE("split models: all parts are one model, each checked against the first") {
  const auto whole = tiny_llama({.layers = 2});
  const auto write = [&](const TempDir& dir, auto change) {
    for (uint16_t no = 0; no < 3; ++no) {
      GgufWriter part;
      if (no == 0) part.keys = whole.keys;
      part.set("split.no", kU16, raw(no));
      part.set("split.count", kU16, raw(uint16_t{3}));
      part.i32("split.tensors.count", static_cast<int32_t>(whole.tensors.size()));
      for (size_t i = 0; i < whole.tensors.size(); ++i)  // the first part has no tensors, as some writers do
        if (no > 0 && i % 2 == no - 1u) part.tensors.push_back(whole.tensors[i]);
      change(part, no);
      dir.write(fmt::format("m-{:05}-of-00003.gguf", no + 1), part.bytes());
    }
  };
  const auto nothing = [](GgufWriter&, int) {};
  const auto refusal = [](const std::filesystem::path& path) -> std::string {
    try {
      gguf::File::open(path);
      return "(opened)";
    } catch (const FileError& e) {
      return e.what();
    }
  };
  const TempDir dir;
  const auto first = dir / "m-00001-of-00003.gguf";

  write(dir, nothing);
  const auto f = gguf::File::open(first);
  CHECK(f.splits() == 3);
  check_same_tensors(f, whole);
  CHECK(f.path(2) == (dir / "m-00003-of-00003.gguf").string());
  CHECK(f.tensor(whole.tensors[1].name)->split == 2);
  CHECK(f.mappings().size() == 3);
  CHECK(refusal(dir / "m-00002-of-00003.gguf").find("open " + first.string()) != std::string::npos);

  write(dir, [](GgufWriter& w, int no) {
    if (no == 2) w.set("split.no", kU16, raw(uint16_t{1}));
  });
  CHECK(refusal(first).find("m-00003-of-00003.gguf: offset") != std::string::npos);
  CHECK(refusal(first).find("split.no: expected 2, got 1") != std::string::npos);
  write(dir, [](GgufWriter& w, int no) {
    if (no == 0) w.i32("split.tensors.count", 99);
  });
  CHECK(refusal(first).find("split.tensors.count: expected 99 tensors in all parts, got 21") != std::string::npos);
  write(dir, [&](GgufWriter& w, int no) {
    if (no == 2) w.tensors[0] = whole.tensors[0];
  });
  CHECK(refusal(first).find("duplicate of tensor[") != std::string::npos);
  write(dir, [](GgufWriter& w, int no) {
    if (no == 1) w.magic = "nope";
  });
  CHECK(refusal(first).find("m-00002-of-00003.gguf: offset 0: magic") != std::string::npos);
  write(dir, [](GgufWriter& w, int no) {
    if (no == 0) w.erase("split.count"), w.erase("split.no");
  });
  CHECK(refusal(first).find("split.count: expected 3, as the file name says") != std::string::npos);

  write(dir, nothing);
  std::filesystem::rename(first, dir / "renamed.gguf");
  CHECK(refusal(dir / "renamed.gguf").find("a file name ending in -00001-of-00003.gguf") != std::string::npos);
}

}  // namespace kerf::test
