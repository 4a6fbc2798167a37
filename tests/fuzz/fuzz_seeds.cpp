// fuzz_seeds DIR: starting points for fuzz_gguf. Small files that together hold every value type, every tensor type and
// every key the readers know, and the small files of the hostile corpus.
#include <fmt/format.h>

#include <filesystem>
#include <fstream>
#include <iostream>

#include "core/dtype.h"
#include "tests/loaders/hostile_gguf.h"

namespace {

using namespace kerf::test;

GgufWriter all_value_types() {
  GgufWriter w;
  for (uint32_t type = kU8; type <= kF64; ++type) {
    if (type == kArray) continue;
    const std::string value = type == kString ? raw_text("text")
                                              : std::string(type >= kU64                    ? 8
                                                            : type >= kU32 && type != kBool ? 4
                                                            : type >= kU16 && type != kBool ? 2
                                                                                            : 1,
                                                            '\1');
    w.add(fmt::format("s{}", type), type, value);
    w.add(fmt::format("a{}", type), kArray, raw(type) + raw(uint64_t{2}) + value + value);
  }
  w.u32("general.alignment", 32);
  return w;
}

GgufWriter one_tensor(const kerf::DTypeInfo& format) {
  GgufWriter w;
  const auto values = static_cast<uint64_t>(format.block_values);
  w.tensors.push_back({.name = "t",
                       .type = static_cast<uint32_t>(format.gguf_id),
                       .ne = {values, 2},
                       .data = std::string(2 * static_cast<size_t>(format.block_bytes), '\1')});
  w.tensors.push_back({.name = "u", .type = 0, .ne = {1, 1, 1, 2}, .data = std::string(8, '\0')});
  return w;
}

/// The tiny model cut down to what mutation can handle: few tokens, no tensors.
GgufWriter keys_only(bool bpe) {
  GgufWriter w = tiny_llama({.bpe = bpe});
  w.tensors.clear();
  if (bpe) {
    w.texts("tokenizer.ggml.tokens", {"a", "b", "ab", "<|endoftext|>"});
    w.texts("tokenizer.ggml.merges", {"a b"});
    w.i32s("tokenizer.ggml.token_type", {1, 1, 1, 3});
    w.u32("tokenizer.ggml.bos_token_id", 3);
    w.u32("tokenizer.ggml.eos_token_id", 3);
  }
  for (const char* const key :
       {"attention.key_length", "attention.value_length", "attention.sliding_window", "rope.scaling.original_context_length", "vocab_size"})
    w.u32(std::string("llama.") + key, 8);
  for (const char* const key : {"attention.scale", "rope.scaling.factor", "rope.scaling.attn_factor", "rope.scaling.yarn_ext_factor"})
    w.f32(std::string("llama.") + key, 1);
  w.text("llama.rope.scaling.type", "yarn");
  return w;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) {
    std::cerr << "usage: fuzz_seeds DIR\n";
    return 2;
  }
  const std::filesystem::path folder = argv[1];
  std::filesystem::create_directories(folder);
  const auto write = [&](const std::string& name, const std::string& bytes) { std::ofstream(folder / name, std::ios::binary) << bytes; };
  write("values", all_value_types().bytes());
  for (const auto& format : kerf::kDTypes)
    if (format.gguf_id >= 0) write("tensor_" + std::string(format.name), one_tensor(format).bytes());
  write("keys_spm", keys_only(false).bytes());
  write("keys_bpe", keys_only(true).bytes());
  for (const auto& c : hostile_corpus())
    for (const auto& [name, bytes] : c.files)
      if (bytes.size() <= 8192) write(name, bytes);
  return 0;
}
