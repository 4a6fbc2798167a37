#include "loaders/hparams.h"

#include <algorithm>
#include <cmath>

#include "core/error.h"
#include "tests/catch.h"
#include "tests/loaders/tiny_family.h"
#include "tests/loaders/tiny_model.h"

namespace kerf::test {
namespace {

HParams read_from(const GgufWriter& w) {
  const auto bytes = w.bytes();
  return read_hparams(gguf::File::from_bytes(std::as_bytes(std::span(bytes.data(), bytes.size())), "m"));
}
template <class Change>
HParams read(Change change, std::string_view family = {}) {
  auto w = family.empty() ? tiny_llama() : tiny_family(family);
  change(w);
  return read_from(w);
}
template <class Change>
std::string refusal(Change change, std::string_view family = {}) {
  try {
    read(change, family);
    return "(accepted)";
  } catch (const FileError& e) {
    return e.what();
  }
}
bool has(const std::string& text, std::string_view part) { return text.find(part) != text.npos; }
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
    INFO(name);
    const auto& families = tiny_families();
    const bool family = std::find(families.begin(), families.end(), name) != families.end();
    const auto h = family ? read([](W&) {}, name) : read([&](W& w) { rename(w, std::string(name)); });
    CHECK(h.architecture == name);
    CHECK(h.n_head_kv == 2);
  }
  CHECK(has(refusal([](W& w) { w.text("general.architecture", "qwen3"); }), "qwen3.block_count: missing"));
  CHECK(has(refusal([](W& w) { w.text("general.architecture", "gpt2"); }),
            "general.architecture: unknown \"gpt2\" (known: llama, qwen2, qwen3, qwen2moe, qwen3moe, qwen3next, qwen35, qwen35moe)"));
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

TEST_CASE("experts: how many, how many of them for a token, how wide") {
  const auto without = [](std::string key) { return [key](W& w) { w.erase(key); }; };
  const auto with = [](std::string key, uint32_t v) { return [key, v](W& w) { w.u32(key, v); }; };
  const auto mixtral = read([](W&) {}, "mixtral").experts;
  CHECK(mixtral.count == 4);
  CHECK(mixtral.used == 2);
  CHECK(mixtral.n_ff == 64);
  CHECK(mixtral.n_ff_shared == 0);
  CHECK(read(with("llama.expert_feed_forward_length", 8), "mixtral").experts.n_ff == 64);  // not a key of that architecture
  CHECK(read(with("llama.expert_count", 0)).experts.count == 0);
  const auto qwen = read([](W&) {}, "qwen2moe").experts;
  CHECK(qwen.n_ff == 16);
  CHECK(qwen.n_ff_shared == 24);
  const auto old = [](uint32_t ff) {
    return [ff](W& w) {
      w.erase("qwen2moe.expert_feed_forward_length"), w.erase("qwen2moe.expert_shared_feed_forward_length");
      w.u32("qwen2moe.feed_forward_length", ff);
    };
  };
  CHECK(read(old(32), "qwen2moe").experts.n_ff == 16);
  CHECK(read(old(32), "qwen2moe").experts.n_ff_shared == 32);
  CHECK(has(refusal(old(33), "qwen2moe"), "expert_feed_forward_length: missing, and expert_used_count 2 does not divide feed_forward_length 33"));
  CHECK(refusal(without("qwen3moe.expert_feed_forward_length"), "qwen3moe") == "m: qwen3moe.expert_feed_forward_length: missing");
  CHECK(refusal(without("qwen2moe.expert_shared_feed_forward_length"), "qwen2moe") == "m: qwen2moe.expert_shared_feed_forward_length: missing");
  CHECK(refusal(without("qwen3moe.expert_count"), "qwen3moe") == "m: qwen3moe.expert_count: missing");
  CHECK(refusal(without("qwen3moe.expert_used_count"), "qwen3moe") == "m: qwen3moe.expert_used_count: missing");
  CHECK(has(refusal(without("llama.expert_used_count"), "mixtral"), "llama.expert_used_count: expected 1..expert_count = 1..4, got missing"));
  CHECK(has(refusal(with("llama.feed_forward_length", 0), "mixtral"), "llama.feed_forward_length: expected 1..2^24, got 0"));
  CHECK(has(refusal(with("qwen3moe.expert_used_count", 5), "qwen3moe"), "qwen3moe.expert_used_count: expected <= expert_count 4, got 5"));
  CHECK(has(refusal(with("qwen3moe.expert_used_count", 0), "qwen3moe"), "qwen3moe.expert_used_count: expected 1..expert_count = 1..4, got 0"));
  CHECK(has(refusal(with("qwen3moe.expert_count", 1025), "qwen3moe"), "qwen3moe.expert_count: expected 0..1024, got 1025"));
  CHECK(has(refusal([](W& w) { w.u32("qwen3moe.expert_count", 0), w.u32("qwen3moe.expert_used_count", 0); }, "qwen3moe"),
            "qwen3moe.expert_count: expected 1..1024, got 0"));
  CHECK(has(refusal([](W& w) { rename(w, "qwen3"), w.u32("qwen3.expert_count", 8), w.u32("qwen3.expert_used_count", 2); }),
            "qwen3.expert_count: expected 0, got 8 (qwen3 has no experts)"));
}

TEST_CASE("sizes of Gated DeltaNet, and how they hang together") {
  const auto h = read([](W&) {}, "qwen3next");
  CHECK(h.delta.keys() == 16);
  CHECK(h.delta.values() == 32);
  CHECK(h.delta.channels() == 64);
  CHECK(h.delta.conv_kernel == 4);
  CHECK_FALSE(h.delta.v_head_reordered);
  const auto with = [](std::string key, uint32_t v) { return refusal([&](W& w) { w.u32("qwen35." + key, v); }, "qwen35"); };
  CHECK(has(with("ssm.inner_size", 33), "qwen35.ssm.inner_size: expected ssm.state_size * ssm.time_step_rank = 8 * 4 = 32, got 33"));
  CHECK(has(with("ssm.group_count", 3), "qwen35.ssm.time_step_rank: expected a multiple of ssm.group_count 3, got 4"));
  CHECK(has(with("ssm.conv_kernel", 1), "qwen35.ssm.conv_kernel: expected 2..64, got 1"));
  CHECK(has(with("ssm.v_head_reordered", 1), "qwen35.ssm.v_head_reordered: expected bool, got u32"));
  for (const std::string key : {"conv_kernel", "inner_size", "state_size", "time_step_rank", "group_count"})
    CHECK(refusal([&](W& w) { w.erase("qwen35.ssm." + key); }, "qwen35") == "m: qwen35.ssm." + key + ": missing");
  CHECK(read([](W& w) { w.u32("llama.ssm.state_size", 8); }).delta.state_size == 0);
}

TEST_CASE("which layers are recurrent") {
  using Layers = std::vector<bool>;
  const auto layers = [](auto change) {
    return read(
               [&](W& w) {
                 w.u32("qwen35.block_count", 5);
                 change(w);
               },
               "qwen35")
        .recurrent;
  };
  const auto refused = [](auto change) {
    return refusal(
        [&](W& w) {
          w.u32("qwen35.block_count", 5);
          change(w);
        },
        "qwen35");
  };
  CHECK(layers([](W&) {}) == Layers{true, false, true, false, true});
  CHECK(layers([](W& w) { w.erase("qwen35.full_attention_interval"); }) == Layers{true, true, true, false, true});
  CHECK(layers([](W& w) { w.u32("qwen35.full_attention_interval", 1); }) == Layers(5, false));
  const auto flags = [](std::vector<uint8_t> v) { return [v](W& w) { w.set("qwen35.attention.recurrent_layers", kArray, raw_array(kBool, v)); }; };
  CHECK(layers(flags({0, 1, 1, 0, 0})) == Layers{false, true, true, false, false});
  CHECK(layers([](W& w) { w.i32s("qwen35.attention.recurrent_layers", {1, 0, 0, 1, 0}); }) == Layers{true, false, false, true, false});
  CHECK(has(refused(flags({0, 1})), "qwen35.attention.recurrent_layers: array of 2, expected block_count = 5"));
  CHECK(has(refused([](W& w) { w.u32("qwen35.attention.recurrent_layers", 1); }), "recurrent_layers: expected bool[] or integer[], got u32"));
  // With a block that predicts further tokens the array may count it or not; that block is no layer.
  for (const std::vector<uint8_t>& v : {std::vector<uint8_t>{0, 1, 1, 0}, {0, 1, 1, 0, 1}})
    CHECK(layers([&](W& w) { flags(v)(w), w.u32("qwen35.nextn_predict_layers", 1); }) == Layers{false, true, true, false});
  CHECK(has(refused([](W& w) { w.u32("qwen35.nextn_predict_layers", 5); }), "qwen35.nextn_predict_layers: expected < block_count 5, got 5"));

  const auto kv = [](std::vector<int32_t> v) { return [v](W& w) { w.i32s("qwen35.attention.head_count_kv", v); }; };
  CHECK(layers(kv({0, 2, 2, 0, 2})) == Layers{true, false, false, true, false});
  CHECK(layers(kv({2, 2, 2, 2, 2})) == Layers{true, false, true, false, true});
  CHECK(has(refused(kv({0, 2, 1, 0, 2})), "head_count_kv: expected 2 for every layer with attention, got 1 for layer 2"));
  CHECK(has(refused(kv({0, 0, 0, 0, 0})), "head_count_kv: expected 1..head_count = 1..4, got 0"));
  CHECK(has(refused([&](W& w) {
              flags({0, 1, 1, 0, 0})(w), kv({0, 0, 0, 2, 2})(w);
            }),
            "expected 2 for every layer with attention, got 0 for layer 0"));
  CHECK(has(refused([&](W& w) { flags({0, 1, 1, 0, 0})(w), kv({2, 1, 2, 2, 2})(w); }), "expected 0 or 2, got 1 for layer 1"));
  CHECK(has(refusal([](W& w) { w.u32("llama.block_count", 2), w.i32s("llama.attention.head_count_kv", {0, 2}); }), "the same value for every layer"));
  CHECK(read([](W&) {}).recurrent.empty());
}

TEST_CASE("rotary sections leave no pair to the stream that text has not") {
  const auto sections = [](std::vector<int32_t> v) { return [v](W& w) { w.i32s("qwen35.rope.dimension_sections", v); }; };
  const auto refused = [&](std::vector<int32_t> v) { return refusal(sections(v), "qwen35"); };
  CHECK(read([](W&) {}, "qwen35").repairs.empty());
  const auto three = read(sections({2, 1, 1}), "qwen35").repairs;
  REQUIRE(three.size() == 1);
  CHECK(three[0] == "qwen35.rope.dimension_sections: 3 sections where the format has 4; 0 taken for the fourth");
  CHECK(refusal([](W& w) { w.erase("qwen35.rope.dimension_sections"); }, "qwen35") == "m: qwen35.rope.dimension_sections: missing");
  CHECK(has(refused({2, 2}), "dimension_sections: expected 4 sections, got 2"));
  CHECK(has(refused({1, 1, 1, 1, 0}), "expected 4 sections, got 5"));
  CHECK(has(refused({2, -1, 1, 0}), "expected sections of 0..8, got -1"));
  CHECK(has(refused({0, 0, 0, 0}), "expected sections that are not all empty"));
  CHECK(has(refused({1, 1, 1, 1}), "got 1, 1, 1, 1 (pair 3 belongs to none of time, row and column)"));
  CHECK(has(refused({3, 1, 0, 0}), "(pair 2 belongs to none of time, row and column)"));
  CHECK(has(refusal([](W& w) { w.u32("qwen35.rope.dimension_sections", 4); }, "qwen35"), "expected integer[], got u32"));
  CHECK(read([](W& w) { w.i32s("llama.rope.dimension_sections", {1}); }).repairs.empty());
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
