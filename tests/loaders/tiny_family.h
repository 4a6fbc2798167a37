// Complete tiny models with experts and with Gated DeltaNet, as converters write them, and the same in other dialects of the
// format: 2 layers of width 32, 4 heads of 8 over 2; 4 experts of width 16, 2 for each token, a shared one of width 24; where
// layers are recurrent, layer 0 is: 4 heads of v over 2 of k, all of size 8, convolved over 4 tokens. 300 tokens.
#pragma once
#include <string>
#include <string_view>
#include <vector>

#include "tests/loaders/gguf_writer.h"

namespace kerf::test {

/// What tiny_family() takes: "mixtral", which is a llama, and general.architecture of all that are no plain transformers.
const std::vector<std::string>& tiny_families();
GgufWriter tiny_family(std::string_view name);

/// Sizes of the above.
inline constexpr uint64_t kTinyExperts = 4, kTinyKeyHeads = 2, kTinyValueHeads = 4, kTinyState = 8;

/// As files from before 2024: one tensor per expert.
void split_experts(GgufWriter& w);
/// As Ollama writes qwen35 and qwen35moe.
void to_ollama(GgufWriter& w);
/// As early files of qwen3next: one ssm_in for attn_qkv and attn_gate.
void fuse_ssm_in(GgufWriter& w);
/// One tensor for gate and up of all experts.
void merge_gate_up(GgufWriter& w);
/// A block of nextn prediction behind the layers.
void add_nextn(GgufWriter& w);

}  // namespace kerf::test
