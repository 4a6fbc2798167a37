// Properties on random input: round trip, streaming, both merge loops alike, and texts made to be slow.
#include <array>
#include <random>

#include "core/text.h"
#include "loaders/tokenizer/stream.h"
#include "loaders/tokenizer/utf8.h"
#include "tests/catch.h"
#include "tests/tokenizer/data.h"

using namespace kerf;

namespace {

uint64_t new_seed() {
  const uint64_t seed = (uint64_t{std::random_device{}()} << 32) | std::random_device{}();
  std::printf("seed %llu\n", static_cast<unsigned long long>(seed));
  return seed;
}

/// Bytes in runs of one kind: letters, spaces, whole characters, any bytes.
std::string random_bytes(std::mt19937_64& rng, size_t most) {
  std::string out;
  const size_t n = rng() % (most + 1);
  while (out.size() < n) {
    const auto kind = rng() % 5;
    for (size_t run = rng() % 8 + 1; run > 0; --run) {
      if (kind == 0) out += static_cast<char>('a' + rng() % 3);
      if (kind == 1) out += " \n\t\r "[rng() % 5];
      if (kind == 2) append_utf8(out, static_cast<char32_t>(0x3040 + rng() % 96));
      if (kind == 3) append_utf8(out, static_cast<char32_t>(0x1F600 + rng() % 64));
      if (kind == 4) out += static_cast<char>(rng() % 256);
    }
  }
  return out;
}

bool ends_inside_character(const std::string& s) { return complete_utf8_prefix(s) != s.size(); }

}  // namespace

TEST_CASE("byte-level vocabularies give back any bytes") {
  std::mt19937_64 rng(new_seed());
  for (const auto& name : byte_level_names()) {
    const Tokenizer tokenizer(vocab_of(load_json(name)));
    for (int i = 0; i < 2000; ++i) {
      const std::string bytes = random_bytes(rng, 100);
      INFO(name << ": " << printable(bytes, 1000));
      const Ids ids = tokenizer.encode(bytes, {.add_special = false, .parse_special = i % 2 == 0});
      REQUIRE(tokenizer.decode(ids, true) == bytes);
      std::string pieces;
      for (const int32_t id : ids) pieces += tokenizer.piece(id);
      REQUIRE(pieces == bytes);
    }
  }
}

TEST_CASE("an SPM vocabulary gives back any bytes without its own space sign") {
  std::mt19937_64 rng(new_seed());
  const Tokenizer tokenizer(vocab_of(load_json("spm")));
  for (int i = 0; i < 2000; ++i) {
    const std::string bytes = random_bytes(rng, 100);
    INFO(printable(bytes, 1000));
    REQUIRE(tokenizer.decode(tokenizer.encode(bytes, {.add_special = false, .parse_special = false}), true) == bytes);
  }
}

TEST_CASE("streamed parts are whole characters and join to the decoded text") {
  std::mt19937_64 rng(new_seed());
  for (const std::string name : {"qwen2", "spm"}) {
    const Tokenizer tokenizer(vocab_of(load_json(name)));
    for (int i = 0; i < 1000; ++i) {
      Ids ids(rng() % 40);
      for (auto& id : ids) id = static_cast<int32_t>(rng() % tokenizer.vocab().tokens.size());
      if (i % 2 == 0) ids = tokenizer.encode(random_bytes(rng, 60), {.add_special = false});
      StreamDecoder stream(tokenizer, {.special = i % 3 == 0});
      const std::string text = tokenizer.decode(ids, i % 3 == 0);
      const bool valid = valid_utf8(text) == text;
      std::string joined;
      for (const int32_t id : ids) {
        const std::string part = stream.next(id);
        if (valid) REQUIRE_FALSE(ends_inside_character(part));
        joined += part;
      }
      joined += stream.flush();
      REQUIRE(stream.flush().empty());
      REQUIRE(joined == text);
    }
  }
}

TEST_CASE("a character spread over tokens appears when it is whole") {
  const Tokenizer tokenizer(vocab_of(load_json("spm")));
  StreamDecoder stream(tokenizer);
  const std::string emoji = "\xF0\x9F\xAB\xA8";
  std::vector<std::string> parts;
  for (const char c : emoji) parts.push_back(stream.next(3 + static_cast<unsigned char>(c)));  // <0x00> is token 3
  CHECK(parts == std::vector<std::string>{"", "", "", emoji});
  CHECK(stream.next(3 + 0xE3).empty());
  CHECK(stream.flush() == "\xE3");
  StreamDecoder continues(tokenizer, {.at_start = false});
  CHECK(continues.next(tokenizer.encode("a", {.add_special = false})[0]).front() == ' ');
}

TEST_CASE("the scan and the queue merge alike") {
  const uint64_t seed = new_seed();
  std::mt19937_64 rng(seed);
  for (int round = 0; round < 3000; ++round) {
    INFO("seed " << seed << " round " << round);
    // Random rules on few symbols, ranks with ties, results that merge again at lower and at equal rank.
    const uint32_t symbols = static_cast<uint32_t>(rng() % 4 + 2);
    std::vector<MergeRule> rules(size_t{symbols} * symbols);
    for (auto& r : rules)
      if (rng() % 3 != 0) r = {.rank = static_cast<uint32_t>(rng() % 4), .result = static_cast<uint32_t>(rng() % symbols)};
    std::vector<MergeNode> scanned;
    link(scanned, rng() % 60);
    for (auto& n : scanned) n.symbol = static_cast<uint32_t>(rng() % symbols);
    std::vector<MergeNode> queued = scanned;
    const auto rule_of = [&](std::vector<MergeNode>& nodes) {
      return [&](uint32_t l, uint32_t r) { return rules[nodes[l].symbol * symbols + nodes[r].symbol]; };
    };
    merge_all(scanned, rule_of(scanned), SIZE_MAX);
    merge_all(queued, rule_of(queued), 0);
    for (uint32_t i = 0; i < scanned.size(); i = scanned[i].next) {
      REQUIRE(queued[i].symbol == scanned[i].symbol);
      REQUIRE(queued[i].next == scanned[i].next);
    }
  }
}

TEST_CASE("a megabyte of one thing ends") {
  const std::array<std::string, 9> units{"a", " ", "\n", "1", "😀", "<|im_", " \n", "'", "\xFF"};
  for (const std::string name : {"llama-bpe", "qwen35", "smollm", "default", "spm"}) {
    const Tokenizer tokenizer(vocab_of(load_json(name)));
    for (const auto& unit : units) {
      std::string text;
      while (text.size() < (1u << 20)) text += unit;
      INFO(name << " of " << printable(unit));
      const Ids ids = tokenizer.encode(text, {.add_special = false, .parse_special = true});
      CHECK(tokenizer.decode(ids) == text);
    }
  }
}
