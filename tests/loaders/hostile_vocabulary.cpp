#include "tests/loaders/hostile_gguf.h"

namespace kerf::test {

void add_vocabulary_cases(HostileCases& out) {
  using W = GgufWriter;
  const std::string p = "tokenizer.ggml.";
  const auto with = [](std::string id, std::string name, auto change, std::vector<std::string> says, bool bpe = false) {
    return changed(std::move(id), std::move(name), change, std::move(says), {.bpe = bpe});
  };
  const auto replaced = [](size_t index, std::string token) {
    auto tokens = tiny_spm_tokens();
    tokens[index] = std::move(token);
    return tokens;
  };

  out.push_back(without_offset(with("V01", "tokens missing", [&](W& w) { w.erase(p + "tokens"); }, {"tokens: missing"})));
  out.push_back(with("V02", "tokens u32", [&](W& w) { w.set(p + "tokens", kArray, raw_array(kU32, std::vector<uint32_t>(300, 1))); },
                     {"tokens: expected string[], got u32[]"}));
  out.push_back(with("V03", "scores short", [&](W& w) { w.f32s(p + "scores", std::vector<float>(10)); }, {"scores: expected 300 items, got 10"}));
  out.push_back(with("V04", "scores u8", [&](W& w) { w.set(p + "scores", kArray, raw_array(kU8, std::vector<uint8_t>(300))); },
                     {"scores: expected f32[], got u8[]"}));
  out.push_back(with("V05", "types short", [&](W& w) { w.i32s(p + "token_type", {1, 1, 1}); }, {"token_type: expected 300 items, got 3"}));
  out.push_back(with("V06", "types u8", [&](W& w) { w.set(p + "token_type", kArray, raw_array(kU8, std::vector<uint8_t>(300, 1))); },
                     {"token_type: expected i32[], got u8[]"}));
  out.push_back(accepted(with("V07", "bos id max", [&](W& w) { w.u32(p + "bos_token_id", ~0u); }, {"bos_token_id 4294967295 >= 300"})));
  out.push_back(accepted(with("V08", "eos id eq vocab", [&](W& w) { w.u32(p + "eos_token_id", 300); }, {"eos_token_id 300 >= 300"})));
  out.push_back(with("V09", "eos id i32 neg", [&](W& w) { w.i32(p + "eos_token_id", -5); }, {"eos_token_id: expected u32, got i32"}));
  out.push_back(with("V10", "tokens empty", [&](W& w) { w.texts(p + "tokens", {}); }, {"tokens: expected >= 1, got 0"}));
  out.push_back(accepted(with("V11", "duplicate tokens",
                              [&](W& w) {
                                auto tokens = replaced(0, "a");
                                tokens[1] = "a";
                                w.texts(p + "tokens", tokens);
                              },
                              {"tokens[1] \"a\"", "duplicate of tokens[0]"})));
  out.push_back(accepted(with("V12", "token bad utf8", [&](W& w) { w.texts(p + "tokens", replaced(299, "\xFF\xFE")); }, {})));
  out.push_back(
      with("V13", "byte token ZZ", [&](W& w) { w.texts(p + "tokens", replaced(68, "<0xZZ>")); }, {"tokens[68]", "<0xZZ>", "two hex digits"}));
  out.push_back(with("V14", "model unknown", [&](W& w) { w.text(p + "model", "nope"); }, {"tokenizer.ggml.model", "unknown \"nope\""}));
  out.push_back(with("V15", "model wrong type", [&](W& w) { w.u32(p + "model", 1); }, {"tokenizer.ggml.model: expected string, got u32"}));
  out.push_back(
      with("V16", "token 1MB", [&](W& w) { w.texts(p + "tokens", replaced(299, std::string(1 << 20, 'x'))); }, {"tokens[299]", "65535", "1048576"}));
  out.push_back(with("V17", "token type 99",
                     [&](W& w) {
                       std::vector<int32_t> types(300, 1);
                       types[0] = 99;
                       w.i32s(p + "token_type", types);
                     },
                     {"token_type[0]: expected 1..6, got 99"}));
  out.push_back(with("V18", "add bos string", [&](W& w) { w.text(p + "add_bos_token", "true"); }, {"add_bos_token: expected bool, got string"}));
  out.push_back(with(
      "V19", "bpe merge no space", [&](W& w) { w.texts(p + "merges", {"ab"}); }, {"merges[0]", "ab", "two parts"}, true));
  out.push_back(without_offset(with(
      "V20", "bpe merges missing", [&](W& w) { w.erase(p + "merges"); }, {"merges: missing"}, true)));
  out.push_back(with(
      "V21", "bpe pre unknown", [&](W& w) { w.text(p + "pre", "nope"); }, {"tokenizer.ggml.pre", "unknown \"nope\""}, true));
  out.push_back(with(
      "V22", "bpe merges u32",
      [&](W& w) {
        w.set(p + "merges", kArray, raw_array(kU32, std::vector<uint32_t>{1, 2}));
      },
      {"merges: expected string[], got u32[]"}, true));
  out.push_back(with("V23", "charsmap 2 bytes",
                     [&](W& w) {
                       w.set(p + "precompiled_charsmap", kArray, raw_array(kU8, std::vector<uint8_t>{1, 2}));
                     },
                     {"precompiled_charsmap: expected >= 4 bytes, got 2"}));
  out.push_back(with("V24", "charsmap len lies",
                     [&](W& w) {
                       std::vector<uint8_t> map{0xFF, 0xFF, 0xFF, 0x7F};
                       map.resize(20);
                       w.set(p + "precompiled_charsmap", kArray, raw_array(kU8, map));
                     },
                     {"precompiled_charsmap", "2147483647", "16"}));
  out.push_back(
      with("V25", "plamo byte minus1", [&](W& w) { w.texts(p + "tokens", replaced(3, "<0x-1>")); }, {"tokens[3]", "<0x-1>", "two hex digits"}));
  out.push_back(with("V26", "tiny vocab default ids",
                     [&](W& w) {
                       w.texts(p + "tokens", {"a"});
                       w.f32s(p + "scores", {0});
                       w.i32s(p + "token_type", {1});
                       w.erase(p + "bos_token_id");
                       w.erase(p + "eos_token_id");
                       for (const char* const name : {"token_embd.weight", "output.weight"})
                         w.tensor(name).ne = {32, 1}, w.tensor(name).data.resize(128);
                     },
                     {"256", "missing"}));
  out.push_back(with("V27", "suppress u8", [&](W& w) { w.set(p + "suppress_tokens", kArray, raw_array(kU8, std::vector<uint8_t>{1})); },
                     {"suppress_tokens: expected i32[], got u8[]"}));
  out.push_back(accepted(with("V28", "eot id max", [&](W& w) { w.u32(p + "eot_token_id", 1u << 31); }, {"eot_token_id 2147483648 >= 300"})));
}

}  // namespace kerf::test
