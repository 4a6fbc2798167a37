// kerf tokenize: text to ids and back.
#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "core/error.h"
#include "core/text.h"
#include "experiments/commands.h"
#include "loaders/tokenizer/tokenizer.h"

namespace kerf {

int tokenize_command(const TokenizeArgs& args, const Io& io) {
  if ((args.has_prompt ? 1 : 0) + (args.file.empty() ? 0 : 1) + (args.decode.empty() ? 0 : 1) != 1)
    throw Error(ErrorKind::usage, "expected one of -p, -f and --decode", "kerf tokenize");
  const gguf::File file = gguf::File::open(args.model);
  Vocab vocab = read_vocab(file);
  for (const auto& w : vocab.warnings) io.log->warn("warning: {}", w);
  const Tokenizer tokenizer(std::move(vocab));
  if (!args.decode.empty()) {
    const auto document = nlohmann::json::parse(read_file(args.decode), nullptr, false);
    std::vector<int32_t> ids;
    const auto fail = [&](const std::string& found) { throw FileError({.path = args.decode, .field = "token ids", .expected = fmt::format("a JSON array of integers 0..{}", tokenizer.vocab().tokens.size() - 1), .found = found}); };
    if (!document.is_array()) fail(document.is_discarded() ? "no JSON" : document.type_name());
    for (const auto& item : document) {
      if (!item.is_number_integer() || item.get<int64_t>() < 0 || item.get<int64_t>() >= static_cast<int64_t>(tokenizer.vocab().tokens.size())) fail(item.dump());
      ids.push_back(item.get<int32_t>());
    }
    const std::string text = tokenizer.decode(ids, true);
    if (io.json) io.out_json(nlohmann::json{{"schema", 1}, {"text", valid_utf8(text)}});
    else io.out(text);
    return 0;
  }
  const std::string text = args.file.empty() ? args.prompt : read_file(args.file);
  const auto ids = tokenizer.encode(text, {.add_special = !args.no_special && !args.no_bos, .parse_special = !args.no_special});
  if (io.json) {
    nlohmann::json result{{"schema", 1}, {"n", ids.size()}, {"ids", ids}};
    if (args.pieces)
      for (const int32_t id : ids) result["pieces"].push_back(valid_utf8(tokenizer.piece(id)));
    io.out_json(result);
  } else if (args.pieces) {
    std::string lines;
    for (const int32_t id : ids) lines += fmt::format("{:>7}  \"{}\"\n", id, printable(tokenizer.piece(id)));
    io.out(lines);
  } else {
    io.out(nlohmann::json(ids).dump() + "\n");
  }
  return 0;
}

}  // namespace kerf
