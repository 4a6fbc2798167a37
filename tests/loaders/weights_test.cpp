#include "loaders/weights.h"

#include <cmath>

#include "core/dtype.h"
#include "core/error.h"
#include "core/half.h"
#include "loaders/scan_values.h"
#include "tests/catch.h"
#include "tests/loaders/tiny_model.h"

namespace kerf::test {
namespace {

gguf::File open(const std::string& bytes, const char* name = "m") {
  return gguf::File::from_bytes(std::as_bytes(std::span(bytes.data(), bytes.size())), name);
}

template <class Call>
std::string refusal(Call call) {
  try {
    call();
    return "(accepted)";
  } catch (const FileError& e) {
    return e.what();
  }
}

}  // namespace

TEST_CASE("weights are found by name and checked by shape") {
  const auto bytes = tiny_llama().bytes();
  const auto file = open(bytes);
  WeightFinder finder(file);
  CHECK(finder.need("token_embd.weight", {300, 32}).desc == matrix(DType::f32, 300, 32));
  CHECK(finder.want("rope_freqs.weight", {4}) == nullptr);
  CHECK(finder.want("output_norm.weight", {32}) != nullptr);
  const auto at = std::to_string(file.tensor("blk.0.attn_k.weight")->info_offset);
  CHECK(refusal([&] { finder.need("blk.0.attn_k.weight", {32, 16}); }) == "m: offset " + at + ": blk.0.attn_k.weight: expected [16,32], got [32,16]");
  CHECK(refusal([&] { finder.need("output_norm.weight", {31}); }).find("output_norm.weight: expected [31], got [32]") != std::string::npos);
  CHECK(refusal([&] { finder.need("blk.0.attn_k.weight", {512}); }).find("expected [512], got [32,16]") != std::string::npos);
  CHECK(refusal([&] { finder.need("nothing.weight", {1}); }) == "m: tensor nothing.weight: missing");
  const auto warnings = finder.finish();
  REQUIRE(warnings.size() == 1);
  CHECK(warnings[0].find("9 unused tensors") != std::string::npos);
  CHECK(warnings[0].find("and 1 more") != std::string::npos);
  CHECK(refusal([&] { finder.finish(true); }).find("offset ") != std::string::npos);
}

TEST_CASE("vectors must be finite floats, matrices floats or blocks") {
  const auto with = [](uint32_t type, std::vector<uint64_t> ne, std::string data) {
    GgufWriter w;
    w.tensors.push_back({.name = "t", .type = type, .ne = std::move(ne), .data = std::move(data)});
    return w.bytes();
  };
  const auto half = [](float v) { return raw(float_to_half(v)); };
  const auto vector_refusal = [&](uint32_t type, const std::string& data) {
    const auto bytes = with(type, {2}, data);
    const auto file = open(bytes);
    return refusal([&] { WeightFinder(file).need("t", {2}); });
  };
  CHECK(vector_refusal(0, raw(1.0f) + raw(2.0f)) == "(accepted)");
  CHECK(vector_refusal(0, raw(1.0f) + raw(HUGE_VALF)).find("t[1]: inf") != std::string::npos);
  CHECK(vector_refusal(1, half(1) + half(-HUGE_VALF)).find("t[1]: -inf") != std::string::npos);
  CHECK(vector_refusal(30, raw(uint16_t{0x7FC0}) + raw(uint16_t{0})).find("t[0]: nan") != std::string::npos);
  CHECK(vector_refusal(28, raw(1.0) + raw(1.0)).find("expected f32/f16/bf16, got f64") != std::string::npos);
  const auto bytes = with(26, {2, 2}, std::string(16, '\0'));
  const auto file = open(bytes);
  CHECK(refusal([&] { WeightFinder(file).need("t", {2, 2}); }).find("expected a float or block format, got i32") != std::string::npos);
}

TEST_CASE("the scan finds a bad scale in every block format and none in its codes") {
  for (const auto& format : kDTypes) {
    if (format.gguf_id < 0 || format.block_values == 1 || format.dtype == DType::nvfp4) continue;
    CAPTURE(format.name);
    const TensorDesc desc = matrix(format.dtype, 2, format.block_values);
    const auto size = static_cast<size_t>(format.block_bytes);
    // All bits clear is a finite block. The upper byte of a binary16 NaN, laid over each position of the second block in
    // turn, must be found exactly where a scale or a minimum has its upper byte, and nowhere among the codes.
    const bool one_byte_scale = format.dtype == DType::mxfp4;
    size_t found = 0;
    for (size_t at = 0; at < size; ++at) {
      std::vector<std::byte> bytes(2 * size);
      bytes[size + at] = one_byte_scale ? std::byte{0xFF} : std::byte{0x7E};
      const auto bad = first_bad_value(desc, bytes);
      if (!bad) continue;
      ++found;
      CHECK(bad->index == 1);
      CHECK(bad->byte == size + at - (one_byte_scale ? 0 : 1));
      CHECK(bad->what.find(" is nan") != std::string::npos);
    }
    const bool has_minimum = format.dtype == DType::q4_1 || format.dtype == DType::q5_1 || format.dtype == DType::q2_k ||
                             format.dtype == DType::q4_k || format.dtype == DType::q5_k;
    // iq1_m spreads its scale over four words: one byte never sets all of its exponent.
    CHECK(found == (format.dtype == DType::iq1_m ? 0u : has_minimum ? 2u : 1u));
  }
  std::vector<std::byte> iq1_m(56);
  for (const size_t word : {3u, 2u, 1u}) iq1_m[48 + 2 * word + 1] = std::byte{0xF0};
  const auto bad = first_bad_value(matrix(DType::iq1_m, 1, 256), iq1_m);
  REQUIRE(bad);
  CHECK(bad->what == "scale is nan");
}

TEST_CASE("scan_values names tensor, place and value") {
  auto w = tiny_llama({.matrix_type = 1});
  w.tensor("blk.0.ffn_up.weight").data.replace(20, 2, raw(float_to_half(HUGE_VALF)));
  const auto bytes = w.bytes();
  const auto file = open(bytes);
  const auto lines = scan_values(file);
  REQUIRE(lines.size() == 1);
  CHECK(std::string(lines[0].what()) ==
        "m: offset " + std::to_string(file.tensor("blk.0.ffn_up.weight")->offset + 20) + ": blk.0.ffn_up.weight[10]: inf");
}

}  // namespace kerf::test
