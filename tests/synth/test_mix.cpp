// Mixes against llama.cpp's own lists: every tensor of six models in every mix; what no list covers against the rule as it is
// worded; sizes against published files.
#include <algorithm>
#include <fstream>
#include <map>
#include <random>
#include <regex>
#include <string>
#include <vector>

#include "experiments/synth_file.h"
#include "quant/mix.h"
#include "tests/catch.h"

namespace kerf {
namespace {

using quant::Mix;

const ModelShape& shape_named(std::string_view name) {
  const auto shapes = known_shapes();
  const auto found = std::find_if(shapes.begin(), shapes.end(), [&](const auto& s) { return s.name == name; });
  REQUIRE(found != shapes.end());
  return *found;
}

std::map<std::string, DType> types_of(const ModelShape& shape, Mix mix, int64_t layers = 0) {
  std::map<std::string, DType> types;
  for (const auto& t : synth_file(shape, {.mix = mix, .layers = layers}).tensors) types[t.name] = t.desc.dtype;
  return types;
}

/// How many tensors whose names contain `part` have this type.
int64_t count(const std::map<std::string, DType>& types, std::string_view part, DType type) {
  return std::count_if(types.begin(), types.end(), [&](const auto& t) { return t.first.find(part) != std::string::npos && t.second == type; });
}

std::string lower(std::string s) {
  for (char& c : s) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return s;
}

/// tests/data/mixes/NAME.schema: per mix, the default type and the tensors that have another.
struct Snapshot {
  struct Section {
    DType base{};
    std::map<std::string, DType> others{};
  };
  std::map<std::string, Section> mixes{};

  explicit Snapshot(const std::string& name) {
    std::ifstream in(std::string(KERF_TEST_DATA) + "/mixes/" + name + ".schema");
    REQUIRE(in.good());
    const std::regex head(R"(\[(\w+)\] (\w+))"), row(R"((\S+) (\w+))");
    std::string line;
    Section* section = nullptr;
    for (std::smatch m; std::getline(in, line);) {
      if (line.starts_with("#") || line.empty()) continue;
      if (std::regex_match(line, m, head)) {
        section = &mixes[m[1]];
        section->base = dtype_named(lower(m[2])).value();
      } else {
        REQUIRE((section && std::regex_match(line, m, row)));
        section->others[m[1]] = dtype_named(lower(m[2])).value();
      }
    }
  }
};

/// Models that llama.cpp has lists of and kerf synth does not write. Its list for Qwen3-0.6B is of a file with a head of its own.
constexpr ModelShape kQwen3Small{.name = "qwen3-0.6b",
                                 .architecture = "qwen3",
                                 .layers = 28,
                                 .embd = 1024,
                                 .heads = 16,
                                 .heads_kv = 8,
                                 .head_dim = 128,
                                 .ff = 3072,
                                 .vocab = 151936,
                                 .context = 40960,
                                 .rope_base = 1e6f,
                                 .rms_eps = 1e-6f,
                                 .rope_dims = 128};
constexpr ModelShape kQwen3Middle{.name = "qwen3-14b",
                                  .architecture = "qwen3",
                                  .layers = 40,
                                  .embd = 5120,
                                  .heads = 40,
                                  .heads_kv = 8,
                                  .head_dim = 128,
                                  .ff = 17408,
                                  .vocab = 151936,
                                  .context = 40960,
                                  .rope_base = 1e6f,
                                  .rms_eps = 1e-6f,
                                  .rope_dims = 128};
constexpr ModelShape kQwen35Large{.name = "qwen3.5-397b-a17b",
                                  .architecture = "qwen35moe",
                                  .layers = 60,
                                  .embd = 4096,
                                  .heads = 32,
                                  .heads_kv = 2,
                                  .head_dim = 256,
                                  .vocab = 248320,
                                  .context = 262144,
                                  .rope_base = 1e7f,
                                  .rms_eps = 1e-6f,
                                  .rope_dims = 64,
                                  .experts = 512,
                                  .experts_used = 10,
                                  .expert_ff = 1024,
                                  .shared_ff = 1024,
                                  .delta = {.interval = 4, .conv_kernel = 4, .head_dim = 128, .key_heads = 16, .value_heads = 64}};

TEST_CASE("every tensor has the type that llama-quantize gives it") {
  const std::vector<std::pair<std::string, ModelShape>> models{{"meta-llama-3.1-70b-instruct", shape_named("llama-3.3-70b")},
                                                               {"qwen3-0.6b", kQwen3Small},
                                                               {"qwen3-14b", kQwen3Middle},
                                                               {"qwen3-coder-next", shape_named("qwen3-next-80b-a3b")},
                                                               {"qwen3.5-397b-a17b", kQwen35Large},
                                                               {"qwen3.6-27b", shape_named("qwen3.5-27b")}};
  for (const auto& [name, shape] : models) {
    const Snapshot snapshot(name);
    REQUIRE(snapshot.mixes.size() == quant::kMixes.size());
    for (const auto& row : quant::kMixes) {
      INFO(name << " " << row.name);
      const Snapshot::Section& want = snapshot.mixes.at(std::string(row.name));
      REQUIRE(want.base == row.base);
      auto others = want.others;
      size_t compared = 0;
      for (const auto& t : synth_file(shape, {.mix = row.mix}).tensors) {
        const int dims = t.desc.shape[1] > 1 ? 3 : t.desc.rows() > 1 ? 2 : 1;
        if (!quant::is_quantizable({.name = t.name, .dims = dims, .cols = t.desc.cols()})) {
          CHECK(t.desc.dtype == DType::f32);
          continue;
        }
        const auto listed = others.find(t.name);
        const DType type = listed == others.end() ? want.base : listed->second;
        if (t.desc.dtype != type) FAIL_CHECK(t.name << " is " << name_of(t.desc.dtype) << ", not " << name_of(type));
        if (listed != others.end()) others.erase(listed);
        ++compared;
      }
      CHECK(others.empty());
      CHECK(compared > 7 * static_cast<size_t>(shape.layers));
    }
  }
}

TEST_CASE("types do not depend on the order of the tensors") {
  const uint64_t seed = 17;
  CAPTURE(seed);
  std::mt19937_64 random(seed);
  const ModelShape& shape = shape_named("qwen3-next-80b-a3b");
  auto tensors = synth_file(shape, {}).tensors;
  std::shuffle(tensors.begin(), tensors.end(), random);
  std::vector<quant::MixTensor> asked;
  for (const auto& t : tensors) asked.push_back({t.name, t.desc.rows() > 1 ? 2 : 1, t.desc.cols()});
  for (const auto& row : quant::kMixes) {
    const auto want = types_of(shape, row.mix);
    const auto got = quant::mix_types(row.mix, {.layers = 48, .heads = 16, .heads_kv = 2, .experts = 512}, asked);
    bool same = true;
    for (size_t i = 0; i < asked.size(); ++i) same &= got[i] == want.at(tensors[i].name);
    CHECK(same);
  }
}

// llama-quantize has no list of a model with eight experts: these counts are what its rule says.
TEST_CASE("with eight experts attention costs nothing, and gets more") {
  const auto k_m = types_of(shape_named("mixtral-8x7b"), Mix::q4_k_m);
  CHECK(count(k_m, "attn_k.weight", DType::q8_0) == 32);
  CHECK(count(k_m, "attn_v.weight", DType::q8_0) == 32);
  CHECK(count(k_m, "attn_output.weight", DType::q5_k) == 32);
  CHECK(count(k_m, "attn_q.weight", DType::q4_k) == 32);
  CHECK(count(k_m, "ffn_down_exps.weight", DType::q6_k) == 16);
  CHECK(count(k_m, "ffn_down_exps.weight", DType::q4_k) == 16);
  CHECK(count(k_m, "ffn_gate_inp.weight", DType::f32) == 32);
  CHECK(k_m.at("output.weight") == DType::q6_k);
  const auto k = types_of(shape_named("mixtral-8x7b"), Mix::q2_k);
  CHECK(count(k, "attn_k.weight", DType::q8_0) == 32);
  CHECK(count(k, "attn_output.weight", DType::q5_k) == 32);
  CHECK(count(k, "ffn_down_exps.weight", DType::q3_k) == 32);
  const auto l = types_of(shape_named("tanuki-8x8b"), Mix::q3_k_l);
  CHECK(count(l, "attn_output.weight", DType::q3_k) == 32);
  CHECK(count(l, "attn_v.weight", DType::q8_0) == 32);
}

TEST_CASE("rows that a block of 256 does not divide get a block of 32") {
  const auto k_m = types_of(shape_named("qwen1.5-moe-a2.7b"), Mix::q4_k_m);  // experts are 1408 wide
  CHECK(count(k_m, "ffn_down_exps.weight", DType::q5_0) == 12);
  CHECK(count(k_m, "ffn_down_exps.weight", DType::q8_0) == 12);
  CHECK(count(k_m, "ffn_gate_exps.weight", DType::q4_k) == 24);
  CHECK(count(types_of(shape_named("qwen1.5-moe-a2.7b"), Mix::q2_k), "ffn_down_exps.weight", DType::q4_0) == 24);
  CHECK(quant::fallback_type(DType::q2_k, 1408) == DType::q4_0);
  CHECK(quant::fallback_type(DType::q5_k, 29568) == DType::q5_1);
  CHECK(quant::fallback_type(DType::q6_k, 29568) == DType::q8_0);
  CHECK(quant::fallback_type(DType::q6_k, 512) == DType::q6_k);
  CHECK(quant::fallback_type(DType::q4_k, 100) == DType::f16);
  CHECK(quant::fallback_type(DType::q8_0, 100) == DType::f16);
}

TEST_CASE("a shared embedding is the head") {
  const auto types = types_of(shape_named("llama-3.2-1b"), Mix::q4_k_m);
  CHECK(types.at("token_embd.weight") == DType::q6_k);
  CHECK(types.count("output.weight") == 0);
  CHECK(types_of(shape_named("llama-3.2-1b"), Mix::q8_0).at("token_embd.weight") == DType::q8_0);
  const quant::MixTensor head{"output.weight", 2, 896};  // Qwen2.5-0.5B: no block of 256 fits
  CHECK(quant::mix_types(Mix::q4_k_m, {.layers = 24, .heads = 14, .heads_kv = 2}, {&head, 1})[0] == DType::q8_0);
}

TEST_CASE("a part of a 70B model is treated as one") {
  CHECK(count(types_of(shape_named("llama-3.3-70b"), Mix::q2_k, 4), "attn_v.weight", DType::q5_k) == 4);
  CHECK(quant::counts_as_70b("llama", 80, 64, 8));
  CHECK_FALSE(quant::counts_as_70b("llama", 80, 64, 64));  // Llama 1, 65B
  CHECK_FALSE(quant::counts_as_70b("llama", 32, 32, 8));
  CHECK(quant::counts_as_70b("qwen2", 80, 64, 8));
}

TEST_CASE("names of mixes") {
  CHECK(quant::mix_named("Q4_K_M") == Mix::q4_k_m);
  CHECK(quant::mix_named("q4_k_m") == Mix::q4_k_m);
  for (const char* wrong : {"", "Q4", "Q4_K", "Q4_K_MM", "IQ2_XXS"}) CHECK_FALSE(quant::mix_named(wrong));
}

// Parameters as llama.cpp prints them and model cards name them.
TEST_CASE("shapes have the parameters of the models") {
  const std::vector<std::pair<std::string_view, double>> known{
      {"llama-3.2-1b", 1.236}, {"llama-3.1-8b", 8.030},       {"llama-3.3-70b", 70.554}, {"mixtral-8x7b", 46.703},     {"qwen2.5-7b", 7.616},
      {"qwen3-8b", 8.191},     {"qwen1.5-moe-a2.7b", 14.316}, {"qwen3-30b-a3b", 30.532}, {"qwen3-235b-a22b", 235.094}, {"qwen3-next-80b-a3b", 79.674},
      {"qwen3.5-27b", 26.896}, {"qwen3.5-35b-a3b", 34.661},   {"tanuki-8x8b", 46.973}};
  CHECK(known.size() == known_shapes().size());
  for (const auto& [name, billions] : known) {
    INFO(name);
    CHECK(static_cast<double>(synth_file(shape_named(name), {}).parameters) / 1e9 == Approx(billions).margin(0.0006));
  }
}

// Sizes of files that their publishers made with llama-quantize: the same tensors, and a vocabulary of some megabytes.
TEST_CASE("files are as large as the published ones") {
  struct Row {
    std::string_view shape{};
    Mix mix{};
    double gigabytes = 0;
  };
  for (const Row& row : {Row{"llama-3.1-8b", Mix::q4_k_m, 4.92}, Row{"llama-3.1-8b", Mix::q2_k, 3.18}, Row{"llama-3.1-8b", Mix::q8_0, 8.54},
                         Row{"llama-3.1-8b", Mix::q6_k, 6.60}, Row{"llama-3.1-8b", Mix::q5_k_m, 5.73}, Row{"llama-3.1-8b", Mix::q3_k_m, 4.02},
                         Row{"llama-3.3-70b", Mix::q4_k_m, 42.52}, Row{"llama-3.3-70b", Mix::q2_k, 26.38}, Row{"qwen3-30b-a3b", Mix::q4_k_m, 18.56},
                         Row{"qwen3-30b-a3b", Mix::q2_k, 11.26}, Row{"mixtral-8x7b", Mix::q4_k_m, 28.45}, Row{"mixtral-8x7b", Mix::q2_k, 17.31},
                         Row{"qwen2.5-7b", Mix::q4_k_m, 4.68}, Row{"qwen3-8b", Mix::q4_k_m, 5.03}}) {
    INFO(row.shape << " " << quant::info(row.mix).name);
    CHECK(static_cast<double>(synth_file(shape_named(row.shape), {.mix = row.mix}).bytes) / 1e9 == Approx(row.gigabytes).epsilon(0.01));
  }
}

}  // namespace
}  // namespace kerf
