// A model's vocabulary: what tokenizer.ggml.* of a GGUF file says, checked. Key names and defaults: ggml-org/ggml
// docs/gguf.md and llama.cpp's reader, restated.
//
// Texts of tokens are kept as the file has them: in a byte-level vocabulary (model "gpt2") normal tokens are spelled in
// the byte alphabet (bpe.h), in a SentencePiece-like one (model "llama") a space is U+2581.
#pragma once
#include <cstdint>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "loaders/gguf.h"

namespace kerf {

enum class TokenizerModel : uint8_t {
  spm,  // "llama": merges by score, byte tokens for what the vocabulary lacks
  bpe,  // "gpt2": byte-level, merges by rank
};

/// Values of tokenizer.ggml.token_type.
enum class TokenType : uint8_t { normal = 1, unknown, control, user_defined, unused, byte };

struct Token {
  std::string text{};
  TokenType type = TokenType::normal;
  float score = 0;  // spm only: the higher, the earlier its parts are merged
};

/// Ids of tokens with a role; absent where the file names none (or one outside the vocabulary).
struct SpecialIds {
  std::optional<int32_t> bos{}, eos{}, eot{}, eom{}, unk{}, sep{}, pad{}, mask{};
  std::optional<int32_t> fim_pre{}, fim_suf{}, fim_mid{}, fim_pad{}, fim_rep{}, fim_sep{};
};

struct Vocab {
  TokenizerModel model = TokenizerModel::bpe;
  std::string pre{};  // bpe only: names the pre-tokenizer (pretokenize.h)
  std::vector<Token> tokens{};
  std::vector<std::string> merges{};  // bpe only: "LEFT RIGHT", rank = index
  SpecialIds special{};
  bool add_bos = false, add_eos = false;
  bool add_space_prefix = false;          // spm: one space before the text and after every special token
  bool remove_extra_whitespaces = false;  // spm: no spaces at the ends, one between words
  bool ignore_merges = false;             // bpe: a piece that is a token needs no merges (Llama 3)
  std::string chat_template{};            // Jinja source; empty if the file has none
  std::vector<int32_t> suppress{};        // tokens a model must never generate
  std::set<int32_t> end{};                // generating one of these ends the answer
  std::vector<std::string> warnings{};    // disagreements that do not stop the vocabulary from being used
};

/// False for files without a tokenizer: no tokenizer.ggml.model, or "none" / "no_vocab". Such a model still runs on ids.
bool has_vocab(const gguf::File& file);

inline constexpr std::string_view kSuppressTokens = "tokenizer.ggml.suppress_tokens";
/// Whether the file names tokens that a model must never generate (Vocab::suppress), without reading the vocabulary.
inline bool suppresses_tokens(const gguf::File& file) { return file.find(kSuppressTokens) != nullptr; }

/// @throws FileError (path, offset, field) if the vocabulary is missing, of an unknown kind or contradicts itself.
Vocab read_vocab(const gguf::File& file);

/// Fills `end`, and gives tokens that end an answer or mark a gap to fill by their text (`<|im_end|>`, `<|fim_pad|>`, ...)
/// their role, where the file named none; such tokens become control tokens whatever type they had, with a warning.
void find_roles(Vocab& vocab);

/// The byte of a token text "<0xHH>"; absent if it is not spelled so.
std::optional<uint8_t> byte_of(std::string_view token_text);

}  // namespace kerf
