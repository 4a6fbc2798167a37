// Values of synthetic models: mean and std by type, ranges of what is no matrix, and that a part is the same alone.
#include <algorithm>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "core/error.h"
#include "experiments/synth_values.h"
#include "loaders/models/model.h"
#include "quant/formats.h"
#include "tests/catch.h"
#include "tests/loaders/temp_dir.h"

namespace kerf {
namespace {

const ModelShape& shape() { return known_shapes()[1]; }

std::vector<std::byte> bytes_of(const SynthTensor& t, uint64_t seed, const ModelShape& of = shape()) {
  std::vector<std::byte> bytes(static_cast<size_t>(t.desc.bytes()));
  SynthValues(t, of, seed).fill(0, t.desc.size() / info(t.desc.dtype).block_values, bytes.data());
  return bytes;
}

std::vector<float> values_of(const SynthTensor& t, uint64_t seed, const ModelShape& of = shape()) {
  const auto bytes = bytes_of(t, seed, of);
  std::vector<float> values(static_cast<size_t>(t.desc.size()));
  quant::decode_row(t.desc.dtype, bytes.data(), t.desc.size(), values.data());
  return values;
}

struct Moments {
  double mean = 0, std = 0, least = 0, greatest = 0;
};
Moments moments(const std::vector<float>& v) {
  double sum = 0, squares = 0;
  for (const float x : v) sum += x, squares += double{x} * x;
  const auto n = static_cast<double>(v.size());
  const auto [low, high] = std::minmax_element(v.begin(), v.end());
  return {sum / n, std::sqrt(squares / n - sum / n * (sum / n)), *low, *high};
}

constexpr DType kTypes[] = {DType::f32,  DType::f16,  DType::q4_0, DType::q4_1, DType::q5_0, DType::q5_1,   DType::q8_0,
                            DType::q2_k, DType::q3_k, DType::q4_k, DType::q5_k, DType::q6_k, DType::iq4_nl, DType::iq4_xs};

TEST_CASE("matrices have mean 0 and the std that keeps activations in size") {
  const uint64_t seed = 5;
  for (const DType type : kTypes)
    for (const int64_t cols : {512, 28672})
      for (const auto& [content, std] : {std::pair{Content::matrix, 1 / std::sqrt(static_cast<double>(cols))},
                                         {Content::residual, 1 / std::sqrt(static_cast<double>(cols) * 64)},
                                         {Content::embedding, 1.0}}) {
        const SynthTensor t{.name = "t", .desc = matrix(type, (1 << 20) / cols, cols), .content = content};
        const auto values = values_of(t, seed);
        const Moments m = moments(values);
        INFO(name_of(type) << " " << cols << " " << static_cast<int>(content));
        CHECK(m.std == Approx(std).epsilon(0.03));
        CHECK(std::abs(m.mean) < 0.02 * std);
        CHECK(m.greatest < 8 * std);
        CHECK(m.least > -8 * std);
        CHECK(std::all_of(values.begin(), values.end(), [](float x) { return std::isfinite(x); }));
      }
}

TEST_CASE("a part of a tensor is the same alone, and everything else differs") {
  for (const DType type : kTypes) {
    INFO(name_of(type));
    const int64_t size = info(type).block_bytes;
    const SynthTensor t{.name = "blk.0.attn_q.weight", .desc = matrix(type, 8, 512)}, other{.name = "blk.1.attn_q.weight", .desc = t.desc};
    const auto whole = bytes_of(t, 1);
    const SynthValues values(t, shape(), 1);
    for (const auto& [first, n] : {std::pair<int64_t, int64_t>{0, 1}, {1, 3}, {7, 9}}) {
      std::vector<std::byte> part(static_cast<size_t>(n * size + 1), std::byte{0xA5});
      values.fill(first, n, part.data());
      CHECK(std::equal(part.begin(), part.end() - 1, whole.begin() + first * size));
      CHECK(part.back() == std::byte{0xA5});
    }
    CHECK(bytes_of(t, 2) != whole);
    CHECK(bytes_of(other, 1) != whole);
    // Rows of a real matrix are never equal.
    std::vector<std::string> rows;
    for (int64_t r = 0; r < 8; ++r)
      rows.emplace_back(reinterpret_cast<const char*>(whole.data()) + r * t.desc.row_bytes(), static_cast<size_t>(t.desc.row_bytes()));
    std::sort(rows.begin(), rows.end());
    CHECK(std::adjacent_find(rows.begin(), rows.end()) == rows.end());
  }
}

TEST_CASE("vectors are in the ranges that trained models have") {
  const auto vector = [](Content content) { return moments(values_of({.name = "v", .desc = vector_of(DType::f32, 4096), .content = content}, 3)); };
  CHECK(vector(Content::norm).mean == Approx(1).epsilon(0.01));
  CHECK(vector(Content::norm).std == Approx(0.1).epsilon(0.05));
  CHECK(vector(Content::bias).std == Approx(0.1).epsilon(0.05));
  CHECK(vector(Content::convolution).std == Approx(0.5).epsilon(0.05));
  const Moments decay = vector(Content::decay);
  CHECK(decay.least >= -8);
  CHECK(decay.least < -7.5);
  CHECK(decay.greatest <= -0.3);
  CHECK(decay.greatest > -0.32);
  const Moments step = vector(Content::time_step);  // softplus(x) in 0.003..0.3
  CHECK(std::log1p(std::exp(step.least)) == Approx(0.003).epsilon(0.05));
  CHECK(std::log1p(std::exp(step.greatest)) == Approx(0.3).epsilon(0.05));
}

// Llama 3.1: pairs whose wave is shorter than 8192 / 4 positions keep their frequency, those longer than 8192 lose a factor 8.
TEST_CASE("factors of rotary frequencies are Llama 3.1's") {
  const auto factors = values_of({.name = "rope_freqs.weight", .desc = vector_of(DType::f32, 64), .content = Content::rope_factors}, 1);
  CHECK(factors[28] == 1);  // wave of 2 pi 500000^(56/128) = 1956 positions
  CHECK(factors[29] > 1);   // 2402
  CHECK(factors[34] < 8);   // 6697
  CHECK(factors[35] == 8);  // 8222
  CHECK(std::is_sorted(factors.begin(), factors.end()));
  // 2402 positions: s = (8192 / 2402 - 1) / 3 = 0.8035; 1 / (0.1965 / 8 + 0.8035) = 1.2076
  CHECK(factors[29] == Approx(1.2076).epsilon(0.001));
}

/// A file of that size with nothing but the header: holes take no space.
std::filesystem::path hollow(const test::TempDir& folder, const SynthFile& file) {
  const auto path = folder / "hollow.gguf";
  std::ofstream(path, std::ios::binary) << file.header;
  std::filesystem::resize_file(path, static_cast<uintmax_t>(file.bytes));
  return path;
}

// Refused may be only what kerf says that it can not do yet.
TEST_CASE("kerf's own loader takes every shape whole, or a part of it") {
  const test::TempDir folder;
  for (const auto& shape : known_shapes())
    for (const int64_t layers : {int64_t{0}, int64_t{4}}) {
      INFO(shape.name << " " << layers);
      const SynthFile written = synth_file(shape, {.layers = layers, .context = 512});
      const gguf::File file = gguf::File::open(hollow(folder, written), {.strict = true});
      CHECK(file.bytes() == static_cast<uint64_t>(written.bytes));
      std::vector<std::string> warnings;
      try {
        const auto model = load_model(file, warnings, true);
        CHECK(model->hparams().n_vocab == shape.vocab);
        CHECK(model->hparams().n_layer == (layers > 0 ? layers : shape.layers));
        CHECK(model->hparams().n_ctx_train == 512);
        CHECK(warnings.empty());
      } catch (const FileError& e) {
        const bool dense = shape.architecture == "qwen2" || shape.architecture == "qwen3" || (shape.architecture == "llama" && shape.experts == 0);
        INFO(e.what());
        CHECK_FALSE(dense);
        CHECK((e.at.hint.find("not supported yet") != std::string::npos || e.at.field == "general.architecture"));
      }
    }
}

TEST_CASE("hybrid models keep the order of their layers") {
  const auto shapes = known_shapes();
  const auto found = std::find_if(shapes.begin(), shapes.end(), [](const auto& s) { return s.name == "qwen3.5-35b-a3b"; });
  REQUIRE(found != shapes.end());
  const SynthFile file = synth_file(*found, {.layers = 8});
  const auto has = [&](const std::string& name) {
    return std::any_of(file.tensors.begin(), file.tensors.end(), [&](const auto& t) { return t.name == name; });
  };
  for (int l = 0; l < 8; ++l) {
    const std::string blk = "blk." + std::to_string(l) + ".";
    CHECK(has(blk + "attn_q.weight") == (l % 4 == 3));
    CHECK(has(blk + "ssm_out.weight") == (l % 4 != 3));
    CHECK(has(blk + "post_attention_norm.weight"));
  }
  CHECK_FALSE(has("blk.8.attn_norm.weight"));
}

}  // namespace
}  // namespace kerf
