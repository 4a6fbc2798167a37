#include "tests/loaders/hostile_gguf.h"

namespace kerf::test {

void add_tensor_cases(HostileCases& out) {
  using W = GgufWriter;
  using T = GgufWriter::Tensor;
  const auto tensor = [](std::string id, std::string name, size_t index, auto change, std::vector<std::string> says) {
    return changed(
        std::move(id), std::move(name), [&](W& w) { change(w.tensors[index]); }, std::move(says));
  };
  const auto cut_data = [](uint64_t from_end) {
    const auto bytes = tiny_llama().bytes();
    return bytes.substr(0, bytes.size() - from_end);
  };

  out.push_back(tensor("T01", "n dims 5", 4, [](T& t) { t.ne = {32, 32, 1, 1, 1}; }, {"tensor[4].n_dims: expected 1..4, got 5"}));
  out.push_back(tensor("T02", "n dims max", 4, [](T& t) { t.n_dims = ~0u; }, {"tensor[4].n_dims: expected 1..4, got 4294967295"}));
  out.push_back(tensor("T03", "n dims 0", 1, [](T& t) { t.ne = {}; }, {"tensor[1].n_dims: expected 1..4, got 0"}));
  out.push_back(tensor("T04", "dim zero", 4, [](T& t) { t.ne = {32, 0}; }, {"tensor[4].ne[1]: expected >= 1, got 0"}));
  out.push_back(tensor("T05", "dim negative", 4,
                       [](T& t) {
                         t.ne = {1ull << 63, 32};
                       },
                       {"tensor[4].ne[0]: expected < 2^48, got 9223372036854775808"}));
  out.push_back(tensor("T06", "dims product overflow", 4,
                       [](T& t) {
                         t.ne = {1ull << 32, 1ull << 32};
                       },
                       {"tensor[4].elements: 4294967296 * 4294967296 overflows"}));
  out.push_back(tensor("T07", "nbytes overflow", 4,
                       [](T& t) {
                         t.ne = {1ull << 31, 1ull << 31};
                       },
                       {"tensor[4].bytes: 4611686018427387904 * 4 overflows"}));
  out.push_back(tensor("T08", "type 255", 4, [](T& t) { t.type = 255; }, {"tensor[4].type: unknown 255"}));
  out.push_back(tensor("T09", "type negative", 4, [](T& t) { t.type = ~0u; }, {"tensor[4].type: unknown 4294967295"}));
  out.push_back(tensor("T10", "type removed 4", 4, [](T& t) { t.type = 4; }, {"tensor[4].type: 4 (Q4_2, removed in 2023)"}));
  out.push_back(tensor("T11", "row not block multiple", 4,
                       [](T& t) {
                         t.ne = {33, 32}, t.type = 2;
                       },
                       {"tensor[4].ne[0]: 33 is not a multiple of 32 (q4_0)"}));
  out.push_back(tensor("T12", "offset past file", 11, [](T& t) { t.offset = 1ull << 40; }, {"tensor[11].offset: 1099511627776 + 8192 > data size"}));
  out.push_back(tensor("T13", "offset unaligned", 4, [](T& t) { t.offset = 33; }, {"tensor[4].offset: 33 is not a multiple of 32"}));
  out.push_back(tensor("T14", "offset wraps", 4, [](T& t) { t.offset = ~0ull - 31; }, {"tensor[4].offset: 18446744073709551584 + 4096 overflows"}));
  out.push_back(tensor("T15", "overlap", 2, [](T& t) { t.offset = 0; }, {"tensor[2]: [0,38400) overlaps tensor[0] [0,38400)"}));
  out.push_back(changed("T16", "gap",
                        [](W& w) {
                          uint64_t end = 0;
                          for (size_t i = 0; i < 11; ++i) end += w.padded(w.tensors[i].data.size());
                          w.tensors[11].offset = end + 64;
                          w.tensors[11].data += std::string(64, '\0');
                        },
                        {"tensor[11].offset: gap of 64 bytes after tensor[10]"}));
  out.push_back(tensor("T17", "duplicate name", 5, [](T& t) { t.name = "blk.0.attn_q.weight"; }, {"tensor[5].name: duplicate of tensor[4]"}));
  out.push_back(tensor("T18", "name len 2e63", 4, [](T& t) { t.name_length = 1ull << 63; },
                       {"tensor[4].name length: expected <= 63, got 9223372036854775808"}));
  out.push_back(tensor("T19", "name 64 bytes", 4, [](T& t) { t.name = std::string(64, 'n'); }, {"tensor[4].name length: expected <= 63, got 64"}));
  out.push_back(tensor("T20", "name empty", 4, [](T& t) { t.name = ""; }, {"tensor[4].name: empty"}));
  out.push_back(tensor("T21", "name nul", 4, [](T& t) { t.name += std::string("\0evil", 5); }, {"tensor[4].name", "byte 0x00 at index 19"}));
  out.push_back(one_file("T22", "data trunc 1 byte", cut_data(1), {"tensor[11] data: needs 8192 bytes at offset", "file ends 1 byte short"}));
  out.push_back(one_file("T23", "data trunc half", cut_data(70'000),
                         {"tensor[2] data: needs 38400 bytes", "short", "10 tensors affected", "blk.0.attn_norm.weight"}));
  out.push_back(one_file("T24", "data absent", tiny_llama().header(), {"tensor[0] data", "short", "12 tensors affected"}));
  {
    const auto w = tiny_llama();
    W keys_only = w;
    keys_only.tensors.clear();
    const size_t second = keys_only.header().size() + 8 + w.tensors[0].name.size() + 4 + 16 + 4 + 8;
    out.push_back(one_file("T25", "trunc mid info", w.bytes().substr(0, second + 10), {"tensor[1]", "file ends at offset"}));
  }
  out.push_back(accepted(one_file("T26", "trailing 1MB", tiny_llama().bytes() + std::string(1 << 20, 'z'), {"1048576 bytes after the last tensor"})));
  out.push_back(tensor("T27", "1TB tensor 1kB file", 4,
                       [](T& t) {
                         t.ne = {1 << 19, 1 << 19};
                       },
                       {"tensor[4] data: needs 1099511627776 bytes", "short"}));
  // i8, 1 byte each: (2^32-1)(2^32+1) = 2^64-1 bytes, whose padding to 32 wraps to 0.
  out.push_back(tensor("T28", "pad wrap", 0,
                       [](T& t) {
                         t.ne = {(1ull << 32) - 1, (1ull << 32) + 1}, t.type = 24;
                       },
                       {"tensor[0].bytes: align_up(18446744073709551615, 32) overflows"}));
  out.push_back(changed("T29", "200k tensors",
                        [](W& w) {
                          w.tensors.clear();
                          for (int i = 0; i < 200'000; ++i) w.tensors.push_back({.name = std::to_string(i), .ne = {1}, .offset = 0});
                        },
                        {"tensor[0] data", "200000 tensors affected"}));
}

void add_split_and_other_cases(HostileCases& out) {
  using W = GgufWriter;
  /// A first part that claims these values (as u16).
  const auto part = [](std::string id, std::string name, const std::string& file, uint16_t no, uint16_t count, std::vector<std::string> says) {
    W w = tiny_llama();
    w.set("split.no", kU16, raw(no));
    w.set("split.count", kU16, raw(count));
    w.i32("split.tensors.count", 12);
    HostileCase c{.id = std::move(id), .name = std::move(name), .says = std::move(says)};
    c.files.emplace_back(file, w.bytes());
    return c;
  };
  out.push_back(part("S01", "split count 2 missing", "S01-00001-of-00002.gguf", 0, 2, {"split 2 of 2: file \"S01-00002-of-00002.gguf\": not found"}));
  out.push_back(part("S02", "split count 0", "S02.gguf", 0, 0, {"split.count: expected 1..65535, got 0"}));
  out.push_back(part("S03", "split no 5 of 2", "S03-00001-of-00002.gguf", 5, 2, {"split.no: expected < 2, got 5"}));
  out.push_back(changed("S04", "split count string", [](W& w) { w.text("split.count", "2"); }, {"split.count: expected u16, got string"}));

  std::string noise = "GGUF" + raw(uint32_t{3});
  for (uint32_t i = 0; i < 4096; ++i) noise += static_cast<char>((i * 2654435761u) >> 24 | 0x81);
  out.push_back(one_file("X01", "random bytes", noise, {"n_tensors: expected <= remaining/33"}));
  out.push_back(one_file("X02", "zeros 1MB", std::string(1 << 20, '\0'), {"magic: expected \"GGUF\", got 00 00 00 00"}));
  out.push_back(one_file("X03", "html error page", "<!DOCTYPE html><html><body>404 Not Found</body></html>",
                         {"magic", "\"<!DO\"", "an HTML page was downloaded"}));
  out.push_back(one_file("X04", "git lfs pointer", "version https://git-lfs.github.com/spec/v1\noid sha256:0123\nsize 12345\n",
                         {"magic", "\"vers\"", "git-lfs pointer, run git lfs pull"}));
  out.push_back(one_file("X05", "zip", std::string("PK\x03\x04", 4) + std::string(64, '\0'), {"magic", "zip archive / pytorch .pt"}));
  out.push_back(one_file("X06", "pickle", "\x80\x04\x95" + std::string(64, 'x'), {"magic", "80 04", "python pickle; never loaded"}));
  out.push_back(one_file("X07", "safetensors",
                         raw(uint64_t{64}) + "{\"a\":{\"dtype\":\"F32\",\"shape\":[4],\"data_offsets\":[0,16]}}" + std::string(30, ' '),
                         {"safetensors file; use the safetensors loader"}));
}

HostileCases hostile_corpus() {
  HostileCases out;
  add_header_cases(out);
  add_metadata_cases(out);
  add_tensor_cases(out);
  add_model_cases(out);
  add_vocabulary_cases(out);
  add_split_and_other_cases(out);
  return out;
}

}  // namespace kerf::test
