#include "loaders/tokenizer/vocab.h"

#include <fmt/format.h>

#include <array>
#include <charconv>
#include <unordered_map>

#include "core/text.h"

namespace kerf {
namespace {

struct Role {
  std::string_view text{};
  std::optional<int32_t> SpecialIds::*id = nullptr;  // null: it only ends the answer
  bool ends = false;
  bool if_control = false;  // counts only where the file itself marks it as a control token: elsewhere it is an HTML tag
};

// No key of the format says which tokens end an answer, so every reader goes by their text. The list is llama.cpp's
// (build b11434) for the models it knows. Where several texts can take one role, the first in this order that is in the
// vocabulary has it.
constexpr std::array kRoles{
    Role{"<|eot_id|>", &SpecialIds::eot, true},
    Role{"<|im_end|>", &SpecialIds::eot, true},
    Role{"<|end|>", &SpecialIds::eot, true},
    Role{"<end_of_turn>", &SpecialIds::eot, true},
    Role{"<|endoftext|>", &SpecialIds::eot, true},
    Role{"<|end_of_text|>", &SpecialIds::eot, true},
    Role{"<EOT>", &SpecialIds::eot, true},
    Role{"_<EOT>", &SpecialIds::eot, true},
    Role{"[EOT]", &SpecialIds::eot, true},
    Role{"<｜end▁of▁sentence｜>", &SpecialIds::eot, true},
    Role{"<end_of_utterance>", &SpecialIds::eot, true},
    Role{"<|eom_id|>", &SpecialIds::eom, true},
    Role{"</s>", nullptr, true, true},
    Role{"<|return|>", nullptr, true},
    Role{"<|call|>", nullptr, true},
    Role{"<|flush|>", nullptr, true},
    Role{"<|calls|>", nullptr, true},
    Role{"<eos>", nullptr, true},
    Role{"[EOS]", nullptr, true},
    Role{"<|fim_prefix|>", &SpecialIds::fim_pre},
    Role{"<fim-prefix>", &SpecialIds::fim_pre},
    Role{"<fim_prefix>", &SpecialIds::fim_pre},
    Role{"<PRE>", &SpecialIds::fim_pre},
    Role{"▁<PRE>", &SpecialIds::fim_pre},
    Role{"<｜fim▁begin｜>", &SpecialIds::fim_pre},
    Role{"<|fim_suffix|>", &SpecialIds::fim_suf},
    Role{"<fim-suffix>", &SpecialIds::fim_suf},
    Role{"<fim_suffix>", &SpecialIds::fim_suf},
    Role{"<SUF>", &SpecialIds::fim_suf},
    Role{"▁<SUF>", &SpecialIds::fim_suf},
    Role{"<｜fim▁hole｜>", &SpecialIds::fim_suf},
    Role{"<|fim_middle|>", &SpecialIds::fim_mid},
    Role{"<fim-middle>", &SpecialIds::fim_mid},
    Role{"<fim_middle>", &SpecialIds::fim_mid},
    Role{"<MID>", &SpecialIds::fim_mid},
    Role{"▁<MID>", &SpecialIds::fim_mid},
    Role{"<｜fim▁end｜>", &SpecialIds::fim_mid},
    Role{"<|fim_pad|>", &SpecialIds::fim_pad},
    Role{"<fim-pad>", &SpecialIds::fim_pad},
    Role{"<fim_pad>", &SpecialIds::fim_pad},
    Role{"<PAD>", &SpecialIds::fim_pad},
    Role{"[PAD]", &SpecialIds::fim_pad},
    Role{"<|fim_repo|>", &SpecialIds::fim_rep},
    Role{"<|repo_name|>", &SpecialIds::fim_rep},
    Role{"<fim-repo>", &SpecialIds::fim_rep},
    Role{"<REPO>", &SpecialIds::fim_rep},
    Role{"<reponame>", &SpecialIds::fim_rep},
    Role{"<|file_sep|>", &SpecialIds::fim_sep},
};

}  // namespace

void find_roles(Vocab& vocab) {
  std::unordered_map<std::string_view, int32_t> ids;
  for (size_t i = 0; i < vocab.tokens.size(); ++i) ids.try_emplace(vocab.tokens[i].text, static_cast<int32_t>(i));
  for (const Role& role : kRoles) {
    const auto found = ids.find(role.text);
    if (found == ids.end()) continue;
    const int32_t id = found->second;
    if (role.if_control && vocab.tokens[static_cast<size_t>(id)].type != TokenType::control) continue;
    const bool takes_role = role.id && !(vocab.special.*role.id);
    if (takes_role) vocab.special.*role.id = id;
    if (role.ends) vocab.end.insert(id);
    Token& token = vocab.tokens[static_cast<size_t>(id)];
    if ((role.ends || takes_role) && token.type != TokenType::control) {
      vocab.warnings.push_back(fmt::format("token {} \"{}\" is not marked as a control token; treated as one", id, printable(token.text)));
      token.type = TokenType::control;
    }
  }
  const SpecialIds& s = vocab.special;
  for (const auto& id : {s.eos, s.eot, s.eom, s.fim_pad, s.fim_rep, s.fim_sep})
    if (id) vocab.end.insert(*id);
  if (vocab.end.empty()) vocab.warnings.push_back("no token ends an answer: generation stops at its length limit only");
}

std::optional<uint8_t> byte_of(std::string_view text) {
  if (text.size() != 6 || !text.starts_with("<0x") || text[5] != '>') return {};
  uint8_t value = 0;
  const auto [end, failed] = std::from_chars(text.data() + 3, text.data() + 5, value, 16);
  if (failed != std::errc{} || end != text.data() + 5) return {};
  return value;
}

}  // namespace kerf
