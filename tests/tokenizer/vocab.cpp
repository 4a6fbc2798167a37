// read_vocab on files made here: the cases V01..V28 of hostile vocabularies, defaults, roles.
#include "loaders/tokenizer/vocab.h"

#include <fmt/format.h>

#include <cstring>
#include <functional>
#include <map>

#include "core/error.h"
#include "loaders/tokenizer/tokenizer.h"
#include "tests/catch.h"

using namespace kerf;
using gguf::Type;

namespace {

template <class T>
std::string raw(T value) {
  std::string out(sizeof value, '\0');
  std::memcpy(out.data(), &value, sizeof value);
  return out;
}

std::string text(const std::string& s) { return raw(uint64_t{s.size()}) + s; }

/// Metadata only: each value as its type and bytes.
struct Writer {
  std::map<std::string, std::string> values{};
  void put(const std::string& key, Type type, const std::string& bytes) { values[key] = raw(static_cast<uint32_t>(type)) + bytes; }
  void str(const std::string& key, const std::string& s) { put(key, Type::string, text(s)); }
  void array(const std::string& key, Type element, uint64_t n, const std::string& bytes) {
    put(key, Type::array, raw(static_cast<uint32_t>(element)) + raw(n) + bytes);
  }
  void strings(const std::string& key, const std::vector<std::string>& items) {
    std::string bytes;
    for (const auto& s : items) bytes += text(s);
    array(key, Type::string, items.size(), bytes);
  }
  template <class T>
  void numbers(const std::string& key, Type element, const std::vector<T>& items) {
    std::string bytes;
    for (const T x : items) bytes += raw(x);
    array(key, element, items.size(), bytes);
  }
  std::string bytes() const {
    std::string out = "GGUF" + raw(uint32_t{3}) + raw(uint64_t{0}) + raw(uint64_t{values.size()});
    for (const auto& [key, value] : values) out += text(key) + value;
    return out + std::string((32 - out.size() % 32) % 32, '\0');
  }
};

const std::string P = "tokenizer.ggml.";

struct SpmFile : Writer {
  std::vector<std::string> tokens{"<unk>", "<s>", "</s>"};
  std::vector<int32_t> types{2, 3, 3};
  SpmFile() {
    for (int b = 0; b < 256; ++b) {
      tokens.push_back(fmt::format("<0x{:02X}>", b));
      types.push_back(6);
    }
    for (int i = 0; i < 41; ++i) {
      tokens.push_back(fmt::format("word{}", i));
      types.push_back(1);
    }
    str("general.architecture", "llama");
    str(P + "model", "llama");
    write();
    numbers(P + "scores", Type::f32, std::vector<float>(300, 0.0f));
  }
  void write() {
    strings(P + "tokens", tokens);
    numbers(P + "token_type", Type::i32, types);
  }
};

struct BpeFile : Writer {
  BpeFile() {
    str("general.architecture", "llama");
    str(P + "model", "gpt2");
    str(P + "pre", "qwen2");
    strings(P + "tokens", {"a", "b", "ab", "<|im_end|>"});
    numbers(P + "token_type", Type::i32, std::vector<int32_t>{1, 1, 1, 3});
    strings(P + "merges", {"a b"});
  }
};

Vocab read(const Writer& w) {
  const std::string bytes = w.bytes();
  return read_vocab(gguf::File::from_bytes(std::as_bytes(std::span(bytes)), "v.gguf"));
}

/// The message of the refusal; every one names the file, and the offset of what is there.
void refused(const Writer& w, const std::string& message, bool with_offset = true) {
  try {
    read(w);
    FAIL("accepted; expected: " << message);
  } catch (const FileError& e) {
    CHECK_THAT(e.what(), Catch::StartsWith("v.gguf: ") && Catch::Contains(message));
    CHECK(e.at.offset.has_value() == with_offset);
    CHECK(e.at.offset.value_or(24) >= 24);
  }
}

void warned(const Vocab& v, const std::string& warning) {
  for (const auto& w : v.warnings)
    if (w.find(warning) != std::string::npos) return;
  FAIL("no warning: " << warning);
}

template <class W>
W with(const std::function<void(W&)>& change) {
  W w;
  change(w);
  return w;
}

}  // namespace

TEST_CASE("a sound vocabulary") {
  const Vocab v = read(SpmFile{});
  CHECK(v.model == TokenizerModel::spm);
  CHECK(v.tokens.size() == 300);
  CHECK(v.add_bos);
  CHECK_FALSE(v.add_eos);
  CHECK(v.add_space_prefix);
  CHECK(v.special.bos == 1);
  CHECK(v.special.eos == 2);
  CHECK(v.special.unk == 0);
  CHECK(v.end == std::set<int32_t>{2});
  CHECK(v.warnings.empty());
  const Vocab b = read(BpeFile{});
  CHECK(b.model == TokenizerModel::bpe);
  CHECK_FALSE(b.add_bos);
  CHECK(b.special.eot == 3);
  CHECK(b.end == std::set<int32_t>{3});
  CHECK(Tokenizer(b).encode("abba<|im_end|>", {.add_special = false, .parse_special = true}) == std::vector<int32_t>{2, 1, 0, 3});
}

TEST_CASE("llama-bpe ignores merges and adds bos unless the file says otherwise") {
  auto w = with<BpeFile>([](BpeFile& b) { b.str(P + "pre", "llama-v3"); });
  CHECK(read(w).ignore_merges);
  CHECK(read(w).add_bos);
  w.put(P + "add_bos_token", Type::boolean, std::string(1, '\0'));
  CHECK_FALSE(read(w).add_bos);
}

TEST_CASE("a file without a vocabulary is no error until it is asked for") {
  Writer w;
  w.str("general.architecture", "llama");
  const auto open = [&](const auto& f) {
    const std::string bytes = w.bytes();
    return f(gguf::File::from_bytes(std::as_bytes(std::span(bytes)), "v.gguf"));
  };
  CHECK_FALSE(open(has_vocab));
  CHECK_THROWS_AS(open(read_vocab), FileError);
  w.str(P + "model", "none");
  CHECK_FALSE(open(has_vocab));
  w.str(P + "model", "no_vocab");
  CHECK_FALSE(open(has_vocab));
  w.str(P + "model", "llama");
  CHECK(open(has_vocab));
}

TEST_CASE("V01..V06, V10: arrays") {
  refused(with<SpmFile>([](SpmFile& w) { w.values.erase(P + "tokens"); }), "tokenizer.ggml.tokens: missing", false);
  refused(with<SpmFile>([](SpmFile& w) { w.numbers(P + "tokens", Type::u32, std::vector<uint32_t>(300)); }), "tokens: expected string[], got u32[]");
  refused(with<SpmFile>([](SpmFile& w) { w.numbers(P + "scores", Type::f32, std::vector<float>(10)); }), "scores: expected 300 items, got 10");
  refused(with<SpmFile>([](SpmFile& w) { w.numbers(P + "scores", Type::u8, std::vector<uint8_t>(300)); }), "scores: expected f32[], got u8[]");
  refused(with<SpmFile>([](SpmFile& w) { w.numbers(P + "scores", Type::f32, std::vector<float>(300, NAN)); }),
          "scores[0]: expected a number, got nan");
  refused(with<SpmFile>([](SpmFile& w) { w.values.erase(P + "scores"); }), "scores: missing for model llama", false);
  refused(with<SpmFile>([](SpmFile& w) {
            w.numbers(P + "token_type", Type::i32, std::vector<int32_t>{1, 1, 1});
          }),
          "token_type: expected 300 items, got 3");
  refused(with<SpmFile>([](SpmFile& w) { w.numbers(P + "token_type", Type::u8, std::vector<uint8_t>(300)); }),
          "token_type: expected i32[], got u8[]");
  refused(with<SpmFile>([](SpmFile& w) { w.strings(P + "tokens", {}); }), "tokens: expected >= 1, got 0");
}

TEST_CASE("V07..V09, V28: ids") {
  const auto id = [](const std::string& name, uint32_t value) {
    return read(with<SpmFile>([&](SpmFile& w) { w.put(P + name, Type::u32, raw(value)); }));
  };
  const Vocab bos = id("bos_token_id", 4294967295u);
  warned(bos, "bos_token_id 4294967295 >= 300; treated as absent");
  CHECK_FALSE(bos.special.bos);
  warned(bos, "add_bos_token is true, but no token begins a text");
  CHECK(Tokenizer(bos).encode("").empty());
  const Vocab eos = id("eos_token_id", 300);
  warned(eos, "eos_token_id 300 >= 300; treated as absent");
  CHECK_FALSE(eos.special.eos);
  warned(id("eot_token_id", 2147483648u), "eot_token_id 2147483648 >= 300; treated as absent");
  CHECK(id("eos_token_id", 299).special.eos == 299);
  refused(with<SpmFile>([](SpmFile& w) { w.put(P + "eos_token_id", Type::i32, raw(int32_t{-5})); }), "eos_token_id: expected u32, got i32 -5");
  refused(with<SpmFile>([](SpmFile& w) { w.str(P + "bos_token_id", "1"); }), "bos_token_id: expected u32, got string");
}

TEST_CASE("V11..V13, V16, V17, V25, V26: tokens") {
  auto w = with<SpmFile>([](SpmFile& s) {
    s.tokens[260] = "word0";
    s.write();
  });
  warned(read(w), "tokens[260] \"word0\": duplicate of tokens[259]");
  w.tokens[260] = "\xFF\xFE";
  w.write();
  CHECK(Tokenizer(read(w)).piece(260) == "\xFF\xFE");
  const auto refused_token = [](size_t i, const std::string& token, const std::string& message) {
    refused(with<SpmFile>([&](SpmFile& s) {
              s.tokens[i] = token;
              s.write();
            }),
            message);
  };
  refused_token(68, "<0xZZ>", "tokens[68] \"<0xZZ>\": byte token needs two hex digits");
  refused_token(3, "<0x-1>", "tokens[3] \"<0x-1>\": byte token needs two hex digits");
  refused_token(3, "<0x0>", "tokens[3] \"<0x0>\": byte token needs two hex digits");
  refused_token(299, std::string(1 << 20, 'a'), "tokens[299] length: expected <= 65535, got 1048576");
  for (const int32_t type : {99, 0, -1})
    refused(with<SpmFile>([&](SpmFile& s) {
              s.types[0] = type;
              s.write();
            }),
            fmt::format("token_type[0]: expected 1..6, got {}", type));
  refused(with<SpmFile>([](SpmFile& s) {
            s.tokens = {"a"};
            s.types = {1};
            s.write();
            s.numbers(P + "scores", Type::f32, std::vector<float>{0});
          }),
          "byte tokens: 256 missing in an SPM vocabulary of 1");
}

TEST_CASE("V14, V15, V18..V22: kinds and merges") {
  refused(with<SpmFile>([](SpmFile& w) { w.str(P + "model", "nope"); }), "tokenizer.ggml.model: unknown \"nope\"");
  refused(with<SpmFile>([](SpmFile& w) { w.put(P + "model", Type::u32, raw(uint32_t{1})); }), "tokenizer.ggml.model: expected string, got u32");
  refused(with<SpmFile>([](SpmFile& w) { w.str(P + "add_bos_token", "yes"); }), "add_bos_token: expected bool, got string");
  for (const std::string merge : {"ab", "ab ", " ab"})
    refused(with<BpeFile>([&](BpeFile& w) { w.strings(P + "merges", {merge}); }),
            fmt::format("merges[0] \"{}\": expected two parts and one space", merge));
  refused(with<BpeFile>([](BpeFile& w) { w.values.erase(P + "merges"); }), "merges: missing for model gpt2", false);
  refused(with<BpeFile>([](BpeFile& w) { w.str(P + "pre", "nope"); }), "tokenizer.ggml.pre: unknown \"nope\"");
  refused(with<BpeFile>([](BpeFile& w) { w.numbers(P + "merges", Type::u32, std::vector<uint32_t>(3)); }), "merges: expected string[], got u32[]");
  const Vocab v = read(with<BpeFile>([](BpeFile& w) { w.values.erase(P + "pre"); }));
  CHECK(v.pre == "default");
  warned(v, "tokenizer.ggml.pre: missing");
}

TEST_CASE("V23, V24, V27: character map and suppressed tokens") {
  const std::string key = P + "precompiled_charsmap";
  refused(with<SpmFile>([&](SpmFile& w) { w.array(key, Type::u8, 2, "ab"); }), "precompiled_charsmap: expected >= 4 bytes, got 2");
  refused(with<SpmFile>([&](SpmFile& w) { w.array(key, Type::u8, 20, raw(uint32_t{2147483647}) + std::string(16, 'x')); }),
          "precompiled_charsmap: trie 2147483647 bytes > 16");
  refused(with<SpmFile>([](SpmFile& w) { w.numbers(P + "suppress_tokens", Type::u8, std::vector<uint8_t>{1}); }),
          "suppress_tokens: expected i32[], got u8[]");
  const Vocab v = read(with<SpmFile>([](SpmFile& w) { w.numbers(P + "suppress_tokens", Type::i32, std::vector<int32_t>{7, 300, -1}); }));
  CHECK(v.suppress == std::vector<int32_t>{7});
  warned(v, "suppress_tokens[1]: 300 is not a token");
}

TEST_CASE("tokens that end an answer become control tokens") {
  const Vocab v = read(with<BpeFile>([](BpeFile& w) { w.numbers(P + "token_type", Type::i32, std::vector<int32_t>{1, 1, 1, 1}); }));
  CHECK(v.tokens[3].type == TokenType::control);
  CHECK(Tokenizer(v).is_end(3));
  CHECK_FALSE(Tokenizer(v).is_end(2));
  warned(v, "is not marked as a control token");
}

TEST_CASE("an HTML tag is no end of text unless the file says so") {
  const auto file = [](int32_t type) {
    return read(with<BpeFile>([&](BpeFile& w) {
      w.strings(P + "tokens", {"a", "b", "ab", "</s>"});
      w.numbers(P + "token_type", Type::i32, std::vector<int32_t>{1, 1, 1, type});
    }));
  };
  CHECK(file(1).end.empty());
  CHECK(file(1).tokens[3].type == TokenType::normal);
  CHECK(file(3).end == std::set<int32_t>{3});
}

TEST_CASE("bytes without a token become the unknown token only if it is one") {
  const auto ids = [](int32_t type) {
    return Tokenizer(read(with<BpeFile>([&](BpeFile& w) {
             w.numbers(P + "token_type", Type::i32, std::vector<int32_t>{1, 1, 1, type});
             w.strings(P + "tokens", {"a", "b", "ab", "<u>"});
             w.put(P + "unknown_token_id", Type::u32, raw(uint32_t{3}));
           })))
        .encode("a\xFF", {.add_special = false});
  };
  CHECK(ids(2) == std::vector<int32_t>{0, 3});
  CHECK(ids(3) == std::vector<int32_t>{0});
}

TEST_CASE("a text outside the byte alphabet does not hide the token of the same bytes") {
  const Vocab v = read(with<BpeFile>([](BpeFile& w) {
    // U+200D is the bytes E2 80 8D, spelled U+00E2 U+0122 U+012F; the bare character comes first.
    w.strings(P + "tokens", {"\u200D", "\u00E2", "\u0122", "\u012F", "\u00E2\u0122", "\u00E2\u0122\u012F"});
    w.numbers(P + "token_type", Type::i32, std::vector<int32_t>{1, 1, 1, 1, 1, 1});
    w.strings(P + "merges", {"\u00E2 \u0122", "\u00E2\u0122 \u012F"});
  }));
  const Tokenizer t(v);
  CHECK(t.encode("\u200D", {.add_special = false}) == std::vector<int32_t>{5});
  CHECK(t.piece(0) == "\u200D");
}
