// A complete llama model of 12 tensors: 1 layer, width 32, 4 heads of 8 over 2 key/value heads, feed-forward 64,
// 300 tokens. Small enough to write thousands of broken copies of it.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "tests/loaders/gguf_writer.h"

namespace kerf::test {

struct TinyOptions {
  uint32_t matrix_type = 0;  // GGUF id: 0 f32, 1 f16, 2 q4_0, 8 q8_0
  bool bpe = false;          // vocabulary: byte-level BPE instead of SentencePiece
  uint32_t layers = 1;
  uint64_t seed = 1;
};

/// Keys and tensors in a fixed order: key 3 is llama.block_count, tensor 0 token_embd, 1 output_norm, 2 output,
/// 3 blk.0.attn_norm, 4 attn_q, 5 attn_k, 6 attn_v, 7 attn_output, 8 ffn_norm, 9 ffn_gate, 10 ffn_up, 11 ffn_down.
GgufWriter tiny_llama(const TinyOptions& options = {});

/// n values of a GGUF type (0 f32, 1 f16, 2 q4_0, 8 q8_0) as in a file; floats lie in -0.5 .. 0.5.
std::string random_values(uint32_t type, uint64_t n, uint64_t seed);

/// The 300 pieces: <unk> <s> </s>, 256 byte tokens, then 41 pieces of text.
std::vector<std::string> tiny_spm_tokens();

}  // namespace kerf::test
