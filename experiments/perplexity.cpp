// kerf perplexity: exp of the mean negative log-probability of a text. Chunks of -c tokens, the second half of each
// scored, a begin token at the start of each chunk if the vocabulary adds one: llama-perplexity's procedure, so that the
// numbers compare (same text, same tokens, same -c).
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "experiments/commands.h"
#include "experiments/watch.h"
#include "loaders/tokenizer/tokenizer.h"

namespace kerf {
namespace {

/// -log softmax(logits)[target], in double.
double nll(std::span<const float> logits, int32_t target) {
  const float max = *std::max_element(logits.begin(), logits.end());
  double sum = 0;
  for (const float l : logits) sum += std::exp(static_cast<double>(l) - max);
  return std::log(sum) + max - logits[static_cast<size_t>(target)];
}

}  // namespace

int perplexity_command(const PerplexityArgs& args, const Io& io) {
  const std::string text = read_file(args.file);
  SessionOptions options = session_options(args.model);
  constexpr int64_t kChunk = 512;  // llama-perplexity's default
  const int64_t n_ctx = args.model.context.value_or(kChunk);
  if (n_ctx < 8) throw Error(ErrorKind::usage, fmt::format("a chunk of {} tokens is too short to score", n_ctx), "-c", "use 512");
  options.context = n_ctx;
  // Logits of a whole half chunk are large (vocabulary x 256 floats): 64 rows at a time are enough to keep kernels busy.
  options.micro_batch = std::min<int64_t>(options.micro_batch, n_ctx);
  options.max_outputs = std::min<int64_t>(options.micro_batch, 64);
  const Registry registry = all_kernels();
  LiveSession live(std::move(options), registry, io);
  Session& session = *live;
  Watch watch(args.watch, session, io);
  const Tokenizer tokenizer(read_vocab(session.file()));
  for (const auto& w : tokenizer.vocab().warnings) io.log->warn("warning: {}", w);
  const auto ids = tokenizer.encode(text, {.add_special = true, .parse_special = false});
  int64_t n_chunk = static_cast<int64_t>(ids.size()) / n_ctx;
  if (n_chunk == 0)
    throw Error(ErrorKind::usage, fmt::format("the text has {} tokens, one chunk needs {}", ids.size(), n_ctx), args.file,
                "use a longer text or a smaller -c");
  if (args.max_chunks > 0) n_chunk = std::min(n_chunk, args.max_chunks);

  // Position i predicts token i+1: rows n_ctx/2 .. n_ctx-2 are scored.
  const int64_t first = n_ctx / 2, outputs = n_ctx - first;
  double sum = 0, squares = 0;
  int64_t count = 0;
  auto bar = io.progress_bar("perplexity");
  for (int64_t chunk = 0; chunk < n_chunk; ++chunk) {
    std::vector<int32_t> tokens(ids.begin() + chunk * n_ctx, ids.begin() + (chunk + 1) * n_ctx);
    const std::vector<int32_t> targets = tokens;
    if (tokenizer.vocab().add_bos && tokenizer.vocab().special.bos) tokens[0] = *tokenizer.vocab().special.bos;
    session.rewind(0);
    std::vector<double> losses(static_cast<size_t>(outputs - 1));
    session.forward(tokens, outputs, [&](int64_t row0, std::span<const float> rows) {
      const auto V = static_cast<size_t>(session.n_vocab());
      session.pool().parallel_for(static_cast<int64_t>(rows.size() / V), [&](int64_t r) {
        const int64_t i = row0 + r;
        if (i + 1 < outputs)
          losses[static_cast<size_t>(i)] = nll(rows.subspan(static_cast<size_t>(r) * V, V), targets[static_cast<size_t>(first + i + 1)]);
      });
    });
    for (const double l : losses) {
      sum += l;
      squares += l * l;
    }
    count += outputs - 1;
    bar(chunk + 1, n_chunk);
    io.log->info("[{}] {:.4f}", chunk + 1, std::exp(sum / static_cast<double>(count)));
  }
  const double mean = sum / static_cast<double>(count);
  const double ppl = std::exp(mean);
  const double variance = std::max(0.0, squares / static_cast<double>(count) - mean * mean);
  const double error = ppl * std::sqrt(variance / static_cast<double>(count - 1));  // delta method on exp(mean)
  if (!std::isfinite(ppl)) throw Error(ErrorKind::check, fmt::format("the perplexity is {}: some logits are not finite", ppl), args.model.model);
  watch.commit();
  if (io.json)
    io.out_json(nlohmann::json{{"schema", 1},
                               {"command", io.command},
                               {"model", args.model.model},
                               {"perplexity", ppl},
                               {"standard_error", error},
                               {"mean_nll", mean},
                               {"tokens_scored", count},
                               {"chunks", n_chunk},
                               {"n_ctx", n_ctx}});
  else
    io.out(fmt::format("PPL = {:.4f} +/- {:.5f}  ({} tokens scored in {} chunks of {})\n", ppl, error, count, n_chunk, n_ctx));
  return 0;
}

}  // namespace kerf
