#include "loaders/tokenizer/pretokenize.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <fmt/format.h>
#include <pcre2.h>

#include <algorithm>
#include <array>

#include "core/error.h"
#include "loaders/tokenizer/utf8.h"

namespace kerf {
namespace {

using Texts = std::span<const std::string_view>;

// Contractions of the newer patterns are published as (?i:'s|'t|...); spelled out they do not fold U+017F (long s) into s,
// which is what llama.cpp does and so what GGUF users have.
constexpr std::string_view kGpt2 = R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S))";

constexpr std::array<std::string_view, 1> kLlama3Patterns{
    R"((?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)"};
constexpr std::array<std::string_view, 1> kQwen2Patterns{
    R"((?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)"};
constexpr std::array<std::string_view, 1> kQwen35Patterns{
    R"((?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)"};
constexpr std::array<std::string_view, 1> kGpt2Patterns{kGpt2};
constexpr std::array<std::string_view, 2> kSmollmPatterns{R"(\p{N})", kGpt2};
constexpr std::array<std::string_view, 4> kDefaultPatterns{R"([\p{P}\$\+<=>\^~\|]+)", kGpt2, R"(\p{N}+)", R"([0-9][0-9][0-9])"};

constexpr std::array<std::string_view, 9> kLlama3Names{"llama-bpe", "llama3",   "llama-v3", "falcon3",     "falcon-h1",
                                                       "pixtral",   "midm-2.0", "lfm2",     "jina-v5-nano"};
constexpr std::array<std::string_view, 8> kQwen2Names{"qwen2",  "deepseek-r1-qwen", "kormo",   "f2llmv2",
                                                      "megrez", "stablelm2",        "hunyuan", "solar-open"};
constexpr std::array<std::string_view, 1> kQwen35Names{"qwen35"};
constexpr std::array<std::string_view, 16> kGpt2Names{"gpt-2",           "phi-2",    "mpt",     "olmo",   "jina-es",     "jina-de", "jina-v2-es",
                                                      "jina-v2-de",      "gigachat", "a.x-4.0", "mellum", "modern-bert", "exaone4", "trillion",
                                                      "granite-docling", "jais"};
constexpr std::array<std::string_view, 8> kSmollmNames{"smollm", "starcoder", "refact", "command-r", "codeshell", "exaone", "minerva-7b", "mellum2"};
constexpr std::array<std::string_view, 1> kDefaultNames{"default"};

constexpr std::array<PreFamily, 6> kFamilies{{
    {kLlama3Names, kLlama3Patterns, true},
    {kQwen2Names, kQwen2Patterns},
    {kQwen35Names, kQwen35Patterns},
    {kGpt2Names, kGpt2Patterns},
    {kSmollmNames, kSmollmPatterns},
    {kDefaultNames, kDefaultPatterns},
}};

/// In PCRE2 \s also takes U+180E, which has not been white space since Unicode 6.3; the patterns were written for engines
/// where \s is the property White_Space.
std::string for_pcre2(std::string_view pattern) {
  std::string out;
  for (size_t i = 0; i < pattern.size(); ++i) {
    const std::string_view two = pattern.substr(i, 2);
    if (two == R"(\s)" || two == R"(\S)") {
      out += two == R"(\s)" ? R"(\p{White_Space})" : R"(\P{White_Space})";
      ++i;
    } else if (two.size() == 2 && two[0] == '\\') {
      out += two;
      ++i;
    } else {
      out += pattern[i];
    }
  }
  return out;
}

std::string message_of(int error) {
  std::array<PCRE2_UCHAR, 128> text{};
  pcre2_get_error_message(error, text.data(), text.size());
  return reinterpret_cast<const char*>(text.data());
}

struct Free {
  void operator()(pcre2_code* p) const { pcre2_code_free(p); }
  void operator()(pcre2_match_data* p) const { pcre2_match_data_free(p); }
  void operator()(pcre2_match_context* p) const { pcre2_match_context_free(p); }
};

}  // namespace

const PreFamily* find_pre(std::string_view name) {
  for (const PreFamily& family : kFamilies)
    if (std::find(family.names.begin(), family.names.end(), name) != family.names.end()) return &family;
  return nullptr;
}

std::string known_pre_names() {
  std::string out;
  for (const PreFamily& family : kFamilies)
    for (const std::string_view name : family.names) out += fmt::format("{}{}", out.empty() ? "" : ", ", name);
  return out;
}

struct Pretokenizer::Pattern {
  std::unique_ptr<pcre2_code, Free> code{};
};

Pretokenizer::Pretokenizer(const PreFamily& family) {
  for (const std::string_view pattern : family.patterns) {
    const std::string source = for_pcre2(pattern);
    int error = 0;
    size_t at = 0;
    auto* code = pcre2_compile(reinterpret_cast<PCRE2_SPTR>(source.data()), source.size(), PCRE2_UTF | PCRE2_UCP, &error, &at, nullptr);
    KERF_CHECK(code, fmt::format("pre-tokenizer pattern {} at {}: {}", source, at, message_of(error)));
    auto& kept = patterns_.emplace_back(std::make_unique<Pattern>());
    kept->code.reset(code);
    pcre2_jit_compile(code, PCRE2_JIT_COMPLETE);  // where it fails, pcre2_match interprets
  }
}

Pretokenizer::~Pretokenizer() = default;
Pretokenizer::Pretokenizer(Pretokenizer&&) noexcept = default;

void Pretokenizer::split(std::string_view text, const std::function<void(std::string_view)>& piece) const {
  const std::unique_ptr<pcre2_match_data, Free> match(pcre2_match_data_create(1, nullptr));
  const std::unique_ptr<pcre2_match_context, Free> context(pcre2_match_context_create(nullptr));
  if (!match || !context) throw std::bad_alloc();
  // Linear in the text: a pattern that backtracks more is a bug here, and stops instead of hanging. The white-space
  // alternatives look at one run of spaces three times at most.
  pcre2_set_match_limit(context.get(), static_cast<uint32_t>(std::min<size_t>(UINT32_MAX, 1'000'000 + 16 * text.size())));
  const size_t* const found = pcre2_get_ovector_pointer(match.get());

  const auto apply = [&](const auto& self, std::string_view part, size_t level) -> void {
    if (level == patterns_.size()) return piece(part);
    for (size_t i = 0; i < part.size();) {
      // The run was checked to be UTF-8 once; without NO_UTF_CHECK every call would check it again to its end.
      const int count = pcre2_match(patterns_[level]->code.get(), reinterpret_cast<PCRE2_SPTR>(part.data()), part.size(), i,
                                    PCRE2_NO_UTF_CHECK | PCRE2_NOTEMPTY, match.get(), context.get());
      if (count < 0 && count != PCRE2_ERROR_NOMATCH) throw Error(ErrorKind::runtime, "pre-tokenizer: " + message_of(count));
      const size_t begin = count < 0 ? part.size() : found[0], end = count < 0 ? part.size() : found[1];
      if (begin > i) self(self, part.substr(i, begin - i), level + 1);
      if (end > begin) self(self, part.substr(begin, end - begin), level + 1);
      i = end;
    }
  };

  for (size_t i = 0; i < text.size();) {
    bool valid = false;
    const size_t n = utf8_run(text, i, valid);
    if (valid)
      apply(apply, text.substr(i, n), 0);
    else
      piece(text.substr(i, n));
    i += n;
  }
}

}  // namespace kerf
