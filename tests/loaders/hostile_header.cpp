#include <fmt/format.h>

#include "tests/loaders/hostile_gguf.h"

namespace kerf::test {

void add_header_cases(HostileCases& out) {
  using W = GgufWriter;
  const auto tiny = tiny_llama().bytes();
  const auto cut = [&](size_t n) { return tiny.substr(0, n); };

  out.push_back(one_file("H01", "empty file", "", {"size: expected >= 24 bytes, got 0"}));
  out.push_back(one_file("H02", "three bytes", cut(3), {"magic", "file ends at offset 3"}));
  out.push_back(changed("H03", "bad magic", [](W& w) { w.magic = "GGML"; }, {"magic: expected \"GGUF\", got \"GGML\"", "pre-GGUF"}));
  out.push_back(one_file("H04", "magic only", cut(4), {"version", "file ends at offset 4"}));
  out.push_back(changed("H05", "version 0", [](W& w) { w.version = 0; }, {"version: expected 2..3, got 0"}));
  out.push_back(changed("H06", "version 1", [](W& w) { w.version = 1; }, {"version: expected 2..3, got 1"}));
  out.push_back(changed("H07", "version future", [](W& w) { w.version = 4; }, {"version: expected 2..3, got 4"}));
  out.push_back(changed("H08", "version big endian", [](W& w) { w.version = 0x03000000; }, {"version", "0x03000000", "big-endian file"}));
  out.push_back(
      changed("H09", "n tensors negative", [](W& w) { w.n_tensors = 1ull << 63; }, {"offset 8: n_tensors", "remaining/33", "9223372036854775808"}));
  out.push_back(changed("H10", "n tensors 2e40", [](W& w) { w.n_tensors = 1ull << 40; }, {"n_tensors", "remaining/33", "1099511627776"}));
  out.push_back(changed("H11", "n kv minus1", [](W& w) { w.n_keys = ~0ull; }, {"offset 16: n_kv", "remaining/14", "18446744073709551615"}));
  out.push_back(changed("H12", "n kv 2e40", [](W& w) { w.n_keys = 1ull << 40; }, {"n_kv", "remaining/14", "1099511627776"}));
  out.push_back(one_file("H13", "trunc in header", cut(17), {"n_kv", "file ends at offset 17"}));
  out.push_back(without_offset(one_file("H14", "no kv no tensors", W{}.bytes(), {"general.architecture: missing (file has 0 keys)"})));
  out.push_back(changed("H15", "n kv one too few", [](W& w) { w.n_keys = w.keys.size() - 1; }, {"tensor[0]", "n_kv"}));
}

void add_metadata_cases(HostileCases& out) {
  using W = GgufWriter;
  /// A file of one key and no tensors whose bytes after the header are exactly these.
  const auto one_key = [](std::string id, std::string name, const std::string& bytes, std::vector<std::string> says) {
    W w;
    w.n_keys = 1;
    return one_file(std::move(id), std::move(name), w.header() + bytes, std::move(says));
  };
  const auto value = [](uint32_t type, const std::string& bytes) { return raw_text("k") + raw(type) + bytes; };
  const auto array = [&](uint32_t element, uint64_t n, const std::string& bytes) { return value(kArray, raw(element) + raw(n) + bytes); };
  const auto key_16 = [](std::string id, std::string name, const std::string& key, std::vector<std::string> says) {
    return changed(
        std::move(id), std::move(name), [&](W& w) { w.add(key, kU32, raw(uint32_t{1})); }, std::move(says));
  };

  out.push_back(one_key("K01", "key len 2e63", raw(1ull << 63) + "k" + std::string(64, 'x'),
                        {"offset 24: kv[0].key length: expected <= 65535", "9223372036854775808"}));
  out.push_back(one_key("K02", "key len 1G tiny file", raw(uint64_t{1073741823}) + std::string(64, 'x'),
                        {"kv[0].key length: expected <= 65535, got 1073741823"}));
  out.push_back(key_16("K03", "empty key", "", {"kv[16].key: empty"}));
  out.push_back(key_16("K04", "duplicate key", "llama.block_count", {"kv[16].key \"llama.block_count\": duplicate of kv[3]"}));
  out.push_back(key_16("K05", "key with nul", std::string("llama.oh_nul\0x", 14), {"kv[16].key", "byte 0x00 at index 12"}));
  out.push_back(key_16("K06", "key bad utf8", "llama.\xFF", {"kv[16].key", "byte 0xFF"}));
  out.push_back(one_key("K07", "key 70000 bytes", raw_text(std::string(70000, 'k')) + raw(uint32_t{kU32}) + raw(uint32_t{1}),
                        {"kv[0].key length: expected <= 65535, got 70000"}));
  out.push_back(one_key("K08", "value type 13", value(13, std::string(16, 'x')), {"kv[0].type: expected 0..12, got 13"}));
  out.push_back(one_key("K09", "value type max", value(~0u, std::string(16, 'x')), {"kv[0].type: expected 0..12, got 4294967295"}));
  out.push_back(one_key("K10", "array of array", array(kArray, 1, raw(uint32_t{kU8}) + raw(uint64_t{1}) + "x"),
                        {"kv[0].array element type: array not supported"}));
  out.push_back(one_key("K11", "array bad elem type", array(77, 1, std::string(8, 'x')), {"kv[0].array element type: expected 0..12, got 77"}));
  out.push_back(
      one_key("K12", "array n 2e62 u8", array(kU8, 1ull << 62, std::string(8, 'x')), {"kv[0].array n", "8 bytes remaining", "4611686018427387904"}));
  out.push_back(one_key("K13", "array bytes overflow u64", array(kU64, 1ull << 61, std::string(8, 'x')),
                        {"kv[0].array n: 2305843009213693952 * 8 bytes overflows"}));
  out.push_back(one_key("K14", "string array n 2e30", array(kString, 1ull << 30, std::string(64, '\0')),
                        {"kv[0].array n", "64 bytes remaining", "1073741824 * 8"}));
  out.push_back(one_key("K15", "string len past eof", value(kString, raw(uint64_t{1000}) + "ab"), {"kv[0].string length", "2 remaining", "1000"}));
  out.push_back(one_key("K16", "string len max", value(kString, raw(~0ull) + "ab"), {"kv[0].string length", "18446744073709551615"}));
  out.push_back(changed("K17", "bool value 2", [](W& w) { w.set("tokenizer.ggml.add_bos_token", kBool, "\x02"); }, {"bool: expected 0 or 1, got 2"}));

  const auto alignment = [](std::string id, std::string name, uint32_t type, const std::string& bytes, std::vector<std::string> says) {
    return changed(
        std::move(id), std::move(name), [&](W& w) { w.set("general.alignment", type, bytes); }, std::move(says));
  };
  const std::string expects = "general.alignment: expected power of two 8..65536, got ";
  out.push_back(alignment("K18", "alignment 0", kU32, raw(uint32_t{0}), {expects + "0"}));
  out.push_back(alignment("K19", "alignment 3", kU32, raw(uint32_t{3}), {expects + "3"}));
  out.push_back(alignment("K20", "alignment 2e31", kU32, raw(uint32_t{1u << 31}), {expects + "2147483648"}));
  out.push_back(alignment("K21", "alignment u64", kU64, raw(uint64_t{32}), {"general.alignment: expected u32, got u64"}));
  out.push_back(alignment("K22", "alignment 1", kU32, raw(uint32_t{1}), {expects + "1"}));

  out.push_back(one_file("K23", "trunc mid kv", tiny_llama().bytes().substr(0, 200), {"kv[4]", "file ends at offset 200"}));
  out.push_back(without_offset(changed("K24", "arch missing", [](W& w) { w.erase("general.architecture"); }, {"general.architecture: missing"})));
  out.push_back(
      changed("K25", "arch wrong type", [](W& w) { w.u32("general.architecture", 7); }, {"general.architecture: expected string, got u32"}));
  out.push_back(
      changed("K26", "arch unknown", [](W& w) { w.text("general.architecture", "zzz"); }, {"general.architecture: unknown \"zzz\"", "known: llama"}));
  out.push_back(changed("K27", "arch terminal escape", [](W& w) { w.text("general.architecture", "\x1b]0;pwned\x07"); }, {"\\x1b]0;pwned\\x07"}));
  out.push_back(changed("K28", "many kv 100k",
                        [](W& w) {
                          for (int i = 0; i < 100'000 - 16; ++i) w.keys.push_back({.name = fmt::format("x{}", i), .type = kU8, .value = "a"});
                        },
                        {"n_kv: expected <= 65536, got 100000"}));
}

}  // namespace kerf::test
