#include "tests/loaders/tiny_model.h"

#include <fmt/format.h>

#include <algorithm>

#include "core/half.h"

namespace kerf::test {
namespace {

/// splitmix64 (Steele, Lea, Flood 2014): a counter in, 64 mixed bits out.
uint64_t mix(uint64_t x) {
  x += 0x9E3779B97F4A7C15u;
  x = (x ^ x >> 30) * 0xBF58476D1CE4E5B9u;
  x = (x ^ x >> 27) * 0x94D049BB133111EBu;
  return x ^ x >> 31;
}
float uniform(uint64_t seed, uint64_t i) { return static_cast<float>(mix(seed * 0x100000001B3u + i) >> 40) * 0x1p-24f - 0.5f; }

/// Byte-level BPE spells bytes with printable characters: 188 stand for themselves, the others are U+0100 and on
/// (GPT-2's byte_to_unicode, restated).
std::string bpe_byte(unsigned byte) {
  const auto plain = [](unsigned b) { return (b >= 33 && b <= 126) || (b >= 161 && b <= 172) || b >= 174; };
  unsigned code = byte;
  if (!plain(byte)) {
    code = 256;
    for (unsigned b = 0; b < byte; ++b) code += !plain(b);
  }
  if (code < 0x80) return {static_cast<char>(code)};
  return {static_cast<char>(0xC0 | code >> 6), static_cast<char>(0x80 | (code & 0x3F))};
}

void add_spm(GgufWriter& w) {
  const auto tokens = tiny_spm_tokens();
  std::vector<float> scores(tokens.size());
  std::vector<int32_t> types(tokens.size(), 1);
  for (size_t i = 0; i < tokens.size(); ++i) scores[i] = i < 259 ? 0.0f : -static_cast<float>(i - 258);
  types[0] = 2;
  types[1] = types[2] = 3;
  std::fill(types.begin() + 3, types.begin() + 259, 6);
  w.text("tokenizer.ggml.model", "llama");
  w.texts("tokenizer.ggml.tokens", tokens);
  w.f32s("tokenizer.ggml.scores", scores);
  w.i32s("tokenizer.ggml.token_type", types);
  w.u32("tokenizer.ggml.bos_token_id", 1);
  w.u32("tokenizer.ggml.eos_token_id", 2);
}

void add_bpe(GgufWriter& w) {
  std::vector<std::string> tokens, merges;
  for (unsigned b = 0; b < 256; ++b) tokens.push_back(bpe_byte(b));
  for (const char* const pair :
       {"t h", "h e", "i n", "a n", "e r", "th e", "in g", "an d", "o n", "r e", "a t", "e n", "o r", "e s", "i s", "t o", "i t", "o f"}) {
    merges.emplace_back(pair);
    std::string joined;
    for (const char c : merges.back())
      if (c != ' ') joined += c;
    if (std::find(tokens.begin(), tokens.end(), joined) == tokens.end()) tokens.push_back(joined);
    if (joined == "in") {  // "in g" needs it
      merges.emplace_back("n g");
      tokens.emplace_back("ng");
    }
  }
  std::vector<int32_t> types(tokens.size(), 1);
  for (int i = 0; tokens.size() < 299; ++i) {
    tokens.push_back(fmt::format("[PAD{}]", i));
    types.push_back(5);
  }
  tokens.emplace_back("<|endoftext|>");
  types.push_back(3);
  w.text("tokenizer.ggml.model", "gpt2");
  w.text("tokenizer.ggml.pre", "gpt-2");
  w.texts("tokenizer.ggml.tokens", tokens);
  w.texts("tokenizer.ggml.merges", merges);
  w.i32s("tokenizer.ggml.token_type", types);
  w.u32("tokenizer.ggml.bos_token_id", 299);
  w.u32("tokenizer.ggml.eos_token_id", 299);
}

}  // namespace

std::string random_values(uint32_t type, uint64_t n, uint64_t seed) {
  std::string out;
  switch (type) {
    case 0:
      for (uint64_t i = 0; i < n; ++i) out += raw(uniform(seed, i));
      return out;
    case 1:
      for (uint64_t i = 0; i < n; ++i) out += raw(float_to_half(uniform(seed, i)));
      return out;
    case 2:
    case 8:
      for (uint64_t block = 0; block < n / 32; ++block) {
        out += raw(float_to_half(0.01f));
        for (uint64_t i = 0; i < (type == 2 ? 16u : 32u); ++i) out += raw(static_cast<uint8_t>(mix(seed + 77 * block + i)));
      }
      return out;
    default:
      throw std::invalid_argument(fmt::format("random_values: type {}", type));
  }
}

std::vector<std::string> tiny_spm_tokens() {
  std::vector<std::string> tokens{"<unk>", "<s>", "</s>"};
  for (int b = 0; b < 256; ++b) tokens.push_back(fmt::format("<0x{:02X}>", b));
  tokens.emplace_back("\xE2\x96\x81");
  for (char c = 'a'; c <= 'z'; ++c) tokens.push_back(std::string(1, c));
  for (const char* const piece : {"th", "he", "in", "an", "er", "the", "ing", "and", "\xE2\x96\x81the", "\xE2\x96\x81th", "\xE2\x96\x81t",
                                  "\xE2\x96\x81"
                                  "a",
                                  ".", ","})
    tokens.emplace_back(piece);
  return tokens;
}

GgufWriter tiny_llama(const TinyOptions& options) {
  GgufWriter w;
  w.text("general.architecture", "llama");
  w.u32("llama.context_length", 128);
  w.u32("llama.embedding_length", 32);
  w.u32("llama.block_count", options.layers);
  w.u32("llama.feed_forward_length", 64);
  w.u32("llama.attention.head_count", 4);
  w.u32("llama.attention.head_count_kv", 2);
  w.f32("llama.attention.layer_norm_rms_epsilon", 1e-5f);
  w.f32("llama.rope.freq_base", 10000.0f);
  w.u32("llama.rope.dimension_count", 8);
  options.bpe ? add_bpe(w) : add_spm(w);

  uint64_t seed = options.seed * 1000;
  const auto matrix = [&](const std::string& name, uint64_t cols, uint64_t rows) {
    w.tensors.push_back(
        {.name = name, .type = options.matrix_type, .ne = {cols, rows}, .data = random_values(options.matrix_type, cols * rows, ++seed)});
  };
  const auto norm = [&](const std::string& name) {
    w.tensors.push_back({.name = name, .type = 0, .ne = {32}, .data = random_values(0, 32, ++seed)});
  };
  matrix("token_embd.weight", 32, 300);
  norm("output_norm.weight");
  matrix("output.weight", 32, 300);
  for (uint32_t l = 0; l < options.layers; ++l) {
    const std::string blk = fmt::format("blk.{}.", l);
    norm(blk + "attn_norm.weight");
    matrix(blk + "attn_q.weight", 32, 32);
    matrix(blk + "attn_k.weight", 32, 16);
    matrix(blk + "attn_v.weight", 32, 16);
    matrix(blk + "attn_output.weight", 32, 32);
    norm(blk + "ffn_norm.weight");
    matrix(blk + "ffn_gate.weight", 32, 64);
    matrix(blk + "ffn_up.weight", 32, 64);
    matrix(blk + "ffn_down.weight", 64, 32);
  }
  return w;
}

}  // namespace kerf::test
