#include <cmath>
#include <limits>

#include "core/half.h"
#include "tests/loaders/hostile_gguf.h"

namespace kerf::test {

void add_model_cases(HostileCases& out) {
  using W = GgufWriter;
  using T = GgufWriter::Tensor;
  const auto u32 = [](std::string id, std::string name, const std::string& key, uint32_t v, std::vector<std::string> says) {
    return changed(
        std::move(id), std::move(name), [&](W& w) { w.u32("llama." + key, v); }, std::move(says));
  };
  const auto f32 = [](std::string id, std::string name, const std::string& key, float v, std::vector<std::string> says) {
    return changed(
        std::move(id), std::move(name), [&](W& w) { w.f32("llama." + key, v); }, std::move(says));
  };
  const auto without = [](std::string id, std::string name, const std::string& key, std::vector<std::string> says) {
    return without_offset(changed(
        std::move(id), std::move(name), [&](W& w) { w.erase("llama." + key); }, std::move(says)));
  };
  const auto tensor = [](std::string id, std::string name, const std::string& which, auto change, std::vector<std::string> says) {
    return changed(
        std::move(id), std::move(name), [&](W& w) { change(w.tensor(which)); }, std::move(says));
  };
  constexpr float nan = std::numeric_limits<float>::quiet_NaN();

  out.push_back(u32("M01", "block count 2e31", "block_count", 1u << 31, {"llama.block_count: expected 1..1024, got 2147483648"}));
  out.push_back(u32("M02", "block count 0", "block_count", 0, {"llama.block_count: expected 1..1024, got 0"}));
  out.push_back(without_offset(u32("M03", "block count 513", "block_count", 513, {"tensor blk.1.attn_norm.weight: missing"})));
  out.push_back(without_offset(u32("M04", "block count 2", "block_count", 2, {"tensor blk.1.attn_norm.weight: missing"})));
  out.push_back(without("M05", "block count missing", "block_count", {"llama.block_count: missing"}));
  out.push_back(
      changed("M06", "block count string", [](W& w) { w.text("llama.block_count", "1"); }, {"llama.block_count: expected integer, got string"}));
  out.push_back(u32("M07", "embd 0", "embedding_length", 0, {"llama.embedding_length: expected 1..2^20, got 0"}));
  out.push_back(u32("M08", "embd mismatch", "embedding_length", 64, {"token_embd.weight: expected [64,300], got [32,300]"}));
  out.push_back(u32("M09", "embd 2e31", "embedding_length", 1u << 31, {"llama.embedding_length: expected 1..2^20, got 2147483648"}));
  out.push_back(u32("M10", "head count 0", "attention.head_count", 0, {"llama.attention.head_count: expected 1..1024, got 0"}));
  out.push_back(u32("M11", "head count kv 0", "attention.head_count_kv", 0, {"head_count_kv: expected 1..head_count", "got 0"}));
  out.push_back(u32("M12", "head count kv 3", "attention.head_count_kv", 3, {"head_count_kv: 3 does not divide head_count 4"}));
  out.push_back(changed("M13", "head count array len",
                        [](W& w) {
                          w.i32s("llama.attention.head_count", {4, 4, 4});
                        },
                        {"head_count: array of 3, expected block_count = 1"}));
  out.push_back(u32("M14", "rope dim 2e31", "rope.dimension_count", 1u << 31, {"rope.dimension_count: expected <= 8", "got 2147483648"}));
  out.push_back(u32("M15", "rope dim 7", "rope.dimension_count", 7, {"rope.dimension_count: must be even, got 7"}));
  out.push_back(u32("M16", "rope dim 64", "rope.dimension_count", 64, {"rope.dimension_count: expected <= 8", "got 64"}));
  out.push_back(u32("M17", "ctx len max", "context_length", ~0u, {"context_length: expected 1..2^27, got 4294967295"}));
  out.push_back(u32("M18", "ctx len 0", "context_length", 0, {"context_length: expected 1..2^27, got 0"}));
  out.push_back(tensor("M19", "tensor transposed", "blk.0.attn_k.weight",
                       [](T& t) {
                         t.ne = {16, 32};
                       },
                       {"blk.0.attn_k.weight: expected [32,16], got [16,32]"}));
  out.push_back(without_offset(
      changed("M20", "tensor missing", [](W& w) { w.erase_tensor("blk.0.ffn_down.weight"); }, {"tensor blk.0.ffn_down.weight: missing"})));
  out.push_back(
      accepted(changed("M21", "tensor extra", [](W& w) { w.tensors.push_back({.name = "extra.weight", .ne = {8}, .data = std::string(32, '\0')}); },
                       {"1 unused tensor \"extra.weight\""})));
  out.push_back(
      tensor("M22", "norm is i32", "output_norm.weight", [](T& t) { t.type = 26; }, {"output_norm.weight: expected f32/f16/bf16, got i32"}));
  out.push_back(tensor("M23", "norm is q4 0", "output_norm.weight", [](T& t) { t.type = 2, t.data.resize(18); },
                       {"output_norm.weight: expected f32/f16/bf16, got q4_0"}));
  out.push_back(tensor("M24", "vocab rows mismatch", "token_embd.weight",
                       [](T& t) {
                         t.ne = {32, 299}, t.data.resize(299 * 128);
                       },
                       {"token_embd.weight: expected [32,300], got [32,299]"}));
  out.push_back(accepted(u32("M25", "vocab size kv mismatch", "vocab_size", 305, {"llama.vocab_size 305 != 300 tokens; 300 used"})));
  out.push_back(u32("M26", "ffn 0", "feed_forward_length", 0, {"feed_forward_length: expected 1..", "got 0"}));
  out.push_back(f32("M27", "eps nan", "attention.layer_norm_rms_epsilon", nan, {"layer_norm_rms_epsilon: expected (0,1), got nan"}));
  out.push_back(without("M28", "eps missing", "attention.layer_norm_rms_epsilon", {"layer_norm_rms_epsilon: missing"}));
  out.push_back(f32("M29", "eps negative", "attention.layer_norm_rms_epsilon", -1, {"layer_norm_rms_epsilon: expected (0,1), got -1"}));
  out.push_back(f32("M30", "freq base 0", "rope.freq_base", 0, {"rope.freq_base: expected > 0 and finite, got 0"}));
  out.push_back(f32("M31", "freq base nan", "rope.freq_base", nan, {"rope.freq_base: expected > 0 and finite, got nan"}));
  out.push_back(tensor("M32", "weights nan", "output_norm.weight", [](T& t) { t.data.replace(0, 4, raw(nan)); }, {"output_norm.weight[0]: nan"}));
  out.push_back(changed("M33", "expert used gt count", [](W& w) { w.u32("llama.expert_count", 2), w.u32("llama.expert_used_count", 4); },
                        {"expert_used_count", "expert_count 2", "4"}));
  out.push_back(u32("M34", "expert count 2e31", "expert_count", 1u << 31, {"expert_count: expected 0..1024, got 2147483648"}));
  auto infinite_scale =
      changed("M35", "q4 scale inf", [](W& w) { w.tensor("blk.0.attn_output.weight").data.replace(0, 2, raw(float_to_half(HUGE_VALF))); },
              {"blk.0.attn_output.weight block 0: scale is inf"}, {.matrix_type = 2});
  infinite_scale.check = true;
  out.push_back(std::move(infinite_scale));
  out.push_back(u32("M36", "key length 0", "attention.key_length", 0, {"attention.key_length: expected 1..", "got 0"}));
  out.push_back(
      u32("M37", "sliding window neg", "attention.sliding_window", ~0u, {"sliding_window: expected <= context_length 128, got 4294967295"}));
  out.push_back(f32("M38", "rope scaling factor 0", "rope.scaling.factor", 0, {"rope.scaling.factor: expected > 0 and finite, got 0"}));
}

}  // namespace kerf::test
