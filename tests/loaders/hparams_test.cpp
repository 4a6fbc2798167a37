#include "loaders/hparams.h"

#include <cmath>

#include "core/error.h"
#include "tests/catch.h"
#include "tests/loaders/tiny_model.h"

namespace kerf::test {
namespace {

template <class Change>
HParams read(Change change) {
  auto w = tiny_llama();
  change(w);
  const auto bytes = w.bytes();
  return read_hparams(gguf::File::from_bytes(std::as_bytes(std::span(bytes.data(), bytes.size())), "m"));
}
template <class Change>
std::string refusal(Change change) {
  try {
    read(change);
    return "(accepted)";
  } catch (const FileError& e) {
    return e.what();
  }
}
using W = GgufWriter;

/// The tiny model under another architecture's name.
void rename(W& w, const std::string& architecture) {
  w.text("general.architecture", architecture);
  for (auto& key : w.keys)
    if (key.name.starts_with("llama.")) key.name = architecture + key.name.substr(5);
}

}  // namespace

TEST_CASE("hyper-parameters of the tiny model, and their defaults") {
  const auto h = read([](W& w) { w.erase("llama.attention.head_count_kv"), w.erase("llama.rope.freq_base"), w.erase("llama.rope.dimension_count"); });
  CHECK(h.architecture == "llama");
  CHECK(h.n_layer == 1);
  CHECK(h.n_embd == 32);
  CHECK(h.n_head == 4);
  CHECK(h.n_head_kv == 4);
  CHECK(h.head_dim == 8);
  CHECK(h.n_ff == 64);
  CHECK(h.n_vocab == 300);
  CHECK(h.n_ctx_train == 128);
  CHECK(h.rms_eps == 1e-5f);
  CHECK(h.attention_scale == static_cast<float>(1 / std::sqrt(8.0)));
  CHECK(h.sliding_window == 0);
  CHECK(h.rope.dims == 8);
  CHECK(h.rope.freq_base == 10000);
  CHECK(h.rope.scaling == RopeScaling::none);
  CHECK(h.warnings.empty());
}

TEST_CASE("every known architecture reads its own keys") {
  for (const auto name : known_architectures()) {
    const auto h = read([&](W& w) { rename(w, std::string(name)); });
    CHECK(h.architecture == name);
    CHECK(h.n_head_kv == 2);
  }
  CHECK(refusal([](W& w) { w.text("general.architecture", "qwen3"); }).find("qwen3.block_count: missing") != std::string::npos);
}

TEST_CASE("integers of any width, and arrays with one value per layer") {
  CHECK(read([](W& w) { w.set("llama.block_count", kU8, raw(uint8_t{1})); }).n_layer == 1);
  CHECK(read([](W& w) { w.set("llama.block_count", kI64, raw(int64_t{2})); }).n_layer == 2);
  CHECK(refusal([](W& w) { w.set("llama.block_count", kI64, raw(int64_t{-2})); }).find("expected 1..1024, got -2") != std::string::npos);
  CHECK(refusal([](W& w) { w.set("llama.block_count", kU64, raw(~0ull)); }).find("expected 1..1024, got 18446744073709551615") != std::string::npos);
  CHECK(refusal([](W& w) { w.f32("llama.block_count", 1); }).find("expected integer, got f32") != std::string::npos);
  const auto per_layer = [](std::vector<int32_t> values) {
    return [values](W& w) { w.u32("llama.block_count", 3), w.i32s("llama.feed_forward_length", values); };
  };
  CHECK(read(per_layer({64, 64, 64})).n_ff == 64);
  CHECK(refusal(per_layer({64, 64})).find("array of 2, expected block_count = 3") != std::string::npos);
  CHECK(refusal(per_layer({64, 64, 96})).find("64 for layer 0 and 96 for layer 2 (layers of different sizes are not supported yet)") !=
        std::string::npos);
  CHECK(refusal(per_layer({64, 64, -1})).find("got -1") != std::string::npos);
  CHECK(refusal([](W& w) { w.u32("llama.attention.layer_norm_rms_epsilon", 1); }).find("expected f32 or f64, got u32") != std::string::npos);
}

TEST_CASE("size of heads: from the key, else from the width") {
  CHECK(read([](W& w) { w.u32("llama.attention.key_length", 16); }).head_dim == 16);
  CHECK(read([](W& w) { w.u32("llama.attention.key_length", 16), w.u32("llama.attention.value_length", 16); }).head_dim == 16);
  CHECK(refusal([](W& w) { w.u32("llama.attention.value_length", 16); }).find("values of another size than keys are not supported yet") !=
        std::string::npos);
  CHECK(refusal([](W& w) { w.u32("llama.embedding_length", 33); }).find("4 does not divide embedding_length 33") != std::string::npos);
  CHECK(read([](W& w) { w.f32("llama.attention.scale", 0.25f); }).attention_scale == 0.25f);
  CHECK(read([](W& w) { w.f32("llama.attention.scale", 0); }).attention_scale == static_cast<float>(1 / std::sqrt(8.0)));
}

TEST_CASE("rope scaling") {
  const auto scaled = [](std::string type, float factor) {
    return [=](W& w) {
      if (!type.empty()) w.text("llama.rope.scaling.type", type);
      w.f32("llama.rope.scaling.factor", factor);
    };
  };
  CHECK(read(scaled("linear", 4)).rope.scaling == RopeScaling::linear);
  CHECK(read(scaled("", 4)).rope.factor == 4);
  CHECK(read(scaled("linear", 1)).rope.scaling == RopeScaling::none);
  CHECK(read(scaled("none", 4)).rope.factor == 1);
  CHECK(read([](W& w) { w.f32("llama.rope.scale_linear", 2); }).rope.factor == 2);
  const auto yarn = read(
      [&](W& w) { scaled("yarn", 4)(w), w.u32("llama.rope.scaling.original_context_length", 32), w.f32("llama.rope.scaling.yarn_beta_fast", 16); });
  CHECK(yarn.rope.scaling == RopeScaling::yarn);
  CHECK(yarn.rope.original_context == 32);
  CHECK(yarn.rope.yarn_ext_factor == 1);
  CHECK(yarn.rope.yarn_beta_fast == 16);
  CHECK(yarn.rope.yarn_beta_slow == 1);
  CHECK(read(scaled("yarn", 4)).rope.original_context == 128);
  CHECK(refusal(scaled("longrope", 4)).find("longrope scaling is not supported yet") != std::string::npos);
  CHECK(refusal(scaled("other", 4)).find("expected none, linear or yarn, got \"other\"") != std::string::npos);
}

TEST_CASE("what is not supported says so") {
  CHECK(refusal([](W& w) { w.u32("llama.expert_count", 8), w.u32("llama.expert_used_count", 2); }).find("mixture of experts is not supported yet") !=
        std::string::npos);
  CHECK(read([](W& w) { w.u32("llama.expert_count", 0); }).n_layer == 1);
}

TEST_CASE("vocabulary size: tokens, else vocab_size, else rows of the embedding") {
  const auto no_tokens = [](W& w) { w.erase("tokenizer.ggml.tokens"); };
  CHECK(read(no_tokens).n_vocab == 300);
  CHECK(read([&](W& w) { no_tokens(w), w.u32("llama.vocab_size", 77); }).n_vocab == 77);
  CHECK(refusal([&](W& w) { no_tokens(w), w.erase_tensor("token_embd.weight"); }).find("tokenizer.ggml.tokens: missing") != std::string::npos);
  CHECK(read([](W& w) { w.u32("llama.vocab_size", 300); }).warnings.empty());
}

TEST_CASE("sliding window") {
  CHECK(read([](W& w) { w.u32("llama.attention.sliding_window", 64); }).sliding_window == 64);
  CHECK(read([](W& w) { w.u32("llama.attention.sliding_window", 128); }).sliding_window == 128);
}

}  // namespace kerf::test
