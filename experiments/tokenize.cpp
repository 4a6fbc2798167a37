// kerf tokenize: text to ids and back.
#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "core/error.h"
#include "core/text.h"
#include "experiments/commands.h"
#include "experiments/ids.h"
#include "loaders/tokenizer/tokenizer.h"

namespace kerf {

int tokenize_command(const TokenizeArgs& args, const Io& io) {
  if ((args.has_prompt ? 1 : 0) + (args.file.empty() ? 0 : 1) + (args.decode.empty() ? 0 : 1) != 1)
    throw Error(ErrorKind::usage, "expected one of -p, -f and --decode", "kerf tokenize");
  if (!args.decode.empty() && (args.pieces || args.no_special || args.no_bos))
    throw Error(ErrorKind::usage, "--pieces, --no-special and --no-bos are about encoding", "--decode", "leave them out");
  const gguf::File file = gguf::File::open(args.model);
  Vocab vocab = read_vocab(file);
  for (const auto& w : vocab.warnings) io.log->warn("warning: {}", w);
  const Tokenizer tokenizer(std::move(vocab));
  if (!args.decode.empty()) {
    const auto ids = read_ids(args.decode, static_cast<int64_t>(tokenizer.vocab().tokens.size()));
    const std::string text = tokenizer.decode(ids, true);
    if (io.json)
      io.out_json(nlohmann::json{{"schema", 1}, {"text", valid_utf8(text)}});
    else
      io.out(text);
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
