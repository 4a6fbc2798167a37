// kerf logits: what checks against other programs read.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "experiments/commands.h"
#include "experiments/ids.h"
#include "experiments/watch.h"

namespace kerf {
namespace {

/// A result with NaN or infinity in it is none. @throws Error(check) naming the first.
void check_finite(std::span<const float> logits, int64_t V, int64_t first_position) {
  for (size_t i = 0; i < logits.size(); ++i)
    if (!std::isfinite(logits[i]))
      throw Error(ErrorKind::check, fmt::format("a logit is {}", logits[i]),
                  fmt::format("position {}, token {}", first_position + static_cast<int64_t>(i) / V, static_cast<int64_t>(i) % V),
                  "--check scans the weights");
}

int32_t most_probable(std::span<const float> logits) { return static_cast<int32_t>(std::max_element(logits.begin(), logits.end()) - logits.begin()); }

}  // namespace

int logits_command(const LogitsArgs& args, const Io& io) {
  if (!args.out_ids.empty() && args.greedy == 0)
    throw Error(ErrorKind::usage, "it takes the continuation of --greedy, which is not given", "--out-ids");
  const std::vector<int32_t> ids = read_ids(args.tokens, int64_t{INT32_MAX} + 1);
  if (ids.empty()) throw FileError({.path = args.tokens, .field = "token ids", .expected = "at least one", .found = "an empty array"});
  const auto n = static_cast<int64_t>(ids.size());
  const int64_t wanted = args.last > 0 ? std::min(args.last, n) : n;
  SessionOptions options = session_options(args.model);
  options.micro_batch = std::min(options.micro_batch, n);
  options.max_outputs = std::min(options.micro_batch, wanted);
  const Registry registry = all_kernels();
  LiveSession live(std::move(options), registry, io);
  Session& session = *live;
  Watch watch(args.watch, session, io);
  if (n + std::max<int64_t>(0, args.greedy - 1) > session.context())
    throw Error(ErrorKind::memory, fmt::format("{} tokens and {} to continue do not fit into the context of {}", n, args.greedy, session.context()),
                "context", fmt::format("use -c {} or more", n + args.greedy));

  const auto V = session.n_vocab();
  std::vector<float> logits(static_cast<size_t>(wanted * V));
  const int64_t chunk = args.chunk > 0 ? args.chunk : n;
  for (int64_t done = 0; done < n; done += chunk) {
    const int64_t part = std::min(chunk, n - done);
    const int64_t outputs = std::clamp<int64_t>(done + part - (n - wanted), 0, part);
    const int64_t base = done + part - outputs - (n - wanted);  // row of `logits` the first output goes to
    session.forward({ids.data() + done, static_cast<size_t>(part)}, outputs,
                    [&](int64_t first, std::span<const float> rows) { std::copy(rows.begin(), rows.end(), logits.begin() + (base + first) * V); });
  }
  check_finite(logits, V, n - wanted);
  std::vector<int32_t> continuation;
  std::span<const float> last(logits.data() + (wanted - 1) * V, static_cast<size_t>(V));
  std::vector<float> next;
  for (int64_t i = 0; i < args.greedy; ++i) {
    continuation.push_back(most_probable(last));
    if (i + 1 == args.greedy) break;
    next = session.forward({&continuation.back(), 1});
    check_finite(next, V, session.position() - 1);
    last = next;
  }

  watch.commit();
  if (!args.out.empty()) write_file(args.out, npy({wanted, V}, logits.data()));
  if (!args.out_ids.empty()) write_file(args.out_ids, nlohmann::json(continuation).dump() + "\n");
  if (io.json) {
    nlohmann::json result{{"schema", 1}, {"command", io.command}, {"model", args.model.model}, {"rows", wanted}, {"vocab", V}};
    if (!args.out.empty()) result["out"] = args.out;
    if (args.greedy > 0) result["greedy"] = continuation;
    io.out_json(result);
  } else if (args.out.empty() && args.greedy == 0) {
    io.out(fmt::format("{} x {} logits, all finite; --out FILE.npy keeps them\n", wanted, V));
  } else if (args.greedy > 0 && args.out_ids.empty()) {
    io.out(nlohmann::json(continuation).dump() + "\n");
  }
  return 0;
}

}  // namespace kerf
