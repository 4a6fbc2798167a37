// kerf run: a prompt in, text out, token by token.
#include <fmt/format.h>
#include <unistd.h>

#include <chrono>
#include <ctime>
#include <iostream>
#include <iterator>
#include <limits>
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "core/text.h"
#include "experiments/commands.h"
#include "experiments/resident.h"
#include "experiments/roof.h"
#include "experiments/sampler.h"
#include "experiments/watch.h"
#include "loaders/chat/chat_template.h"
#include "loaders/tokenizer/stream.h"
#include "loaders/tokenizer/tokenizer.h"

namespace kerf {
namespace {

using Clock = std::chrono::steady_clock;
double seconds_since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

struct Stats {
  int64_t prompt_tokens = 0, reused_tokens = 0, generated = 0;
  double prompt_seconds = 0, decode_seconds = 0;  // of the generated tokens, the first comes with the prompt
  int64_t decode_passes = 0;
  int64_t decode_start = 0;  // position of the first of these passes
};

double rate(int64_t n, double seconds) { return seconds > 0 ? static_cast<double>(n) / seconds : 0; }

std::string now() {
  const std::time_t now = std::time(nullptr);
  std::tm local{};
  localtime_r(&now, &local);
  char text[32];
  return {text, std::strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%S", &local)};
}

class Generator {
 public:
  Generator(const RunArgs& args, Session& session, const Watch& watch, const Tokenizer& tokenizer, const Io& io)
      : args_(args), session_(session), watch_(watch), tokenizer_(tokenizer), io_(io) {
    if (args.stats) find_roof();
  }

  /// @param open with the words that begin an answer at the end
  std::vector<int32_t> tokens_of_chat(const nlohmann::ordered_json& messages, bool open = true) const {
    const Vocab& vocab = tokenizer_.vocab();
    const auto text_of = [&](std::optional<int32_t> id) { return id ? tokenizer_.piece(*id) : std::string(); };
    const ChatTemplate chat(vocab.chat_template);
    ChatTemplate::Options options;
    options.bos_token = text_of(vocab.special.bos);
    options.eos_token = text_of(vocab.special.eos);
    options.date = now();
    options.add_generation_prompt = open;
    const auto rendered = chat.render(messages, options);
    std::vector<Segment> segments;
    for (const auto& s : rendered.segments) segments.push_back({.text = s.text, .parse_special = !s.from_user});
    auto ids = tokenizer_.encode(segments, true);
    // A template that writes the begin token itself must not get a second one from the vocabulary's flag.
    if (ids.size() > 1 && vocab.special.bos && ids[0] == *vocab.special.bos && ids[1] == ids[0]) ids.erase(ids.begin());
    return ids;
  }

  /// Feeds what the cache does not hold yet and generates until the model ends, -n, or the context is full.
  /// @param lasting tokens that a later prompt will begin with: a model with recurrent states keeps a way back to their end
  std::string generate(const std::vector<int32_t>& prompt, bool stream, const std::vector<int32_t>& lasting = {}) {
    size_t common = 0;
    while (common < cached_.size() && common + 1 < prompt.size() && cached_[common] == prompt[common]) ++common;
    if (static_cast<int64_t>(prompt.size()) > session_.context())
      throw Error(ErrorKind::memory, fmt::format("the prompt has {} tokens, the context {}", prompt.size(), session_.context()), "-c",
                  fmt::format("use -c {} or more", prompt.size() + 1));
    common = static_cast<size_t>(session_.rewind(static_cast<int64_t>(common)));
    stats.prompt_tokens = static_cast<int64_t>(prompt.size() - common);
    stats.reused_tokens = static_cast<int64_t>(common);
    cached_ = prompt;

    Sampler sampler(args_.sampler);
    for (const int32_t id : prompt) sampler.accept(id);
    StreamDecoder decoder(tokenizer_, {.at_start = !args_.raw});
    std::string text;
    const auto emit = [&](const std::string& part) {  // a model may generate bytes that are no text; a terminal gets none of them
      text += valid_utf8(part);
      if (stream) io_.out(valid_utf8(part));
    };
    stats.generated = stats.decode_passes = 0;
    stopped = "length";
    auto start = Clock::now();
    size_t kept = 0;
    while (kept < lasting.size() && kept + 1 < prompt.size() && lasting[kept] == prompt[kept]) ++kept;
    Scores scores;
    if (kept > common && !session_.recurrent_states().empty()) {
      scores = forward_prompt(std::span(prompt).subspan(common, kept - common));
      if (scores) session_.checkpoint();
      common = kept;
    }
    if (stopped != "interrupted") scores = forward_prompt(std::span(prompt).subspan(common));
    stats.prompt_seconds = seconds_since(start);
    stats.decode_start = session_.position();
    start = Clock::now();
    while (scores && (args_.n_predict < 0 || stats.generated < args_.n_predict)) {
      for (const int32_t never : tokenizer_.vocab().suppress) scores.logits[static_cast<size_t>(never)] = std::numeric_limits<float>::lowest();
      const int32_t id = scores.greedy ? *scores.greedy : sampler.next(scores.logits, fmt::format("position {}", session_.position()));
      ++stats.generated;
      if (tokenizer_.is_end(id)) {
        stopped = "end";
        break;
      }
      sampler.accept(id);
      emit(decoder.next(id));
      if (args_.n_predict >= 0 && stats.generated == args_.n_predict) break;
      if (session_.position() == session_.context()) {
        stopped = "context";
        io_.log->warn("warning: the context of {} positions is full; use a larger -c to go on", session_.context());
        break;
      }
      cached_.push_back(id);
      scores = forward({&id, 1});
      if (scores) ++stats.decode_passes;
    }
    stats.decode_seconds = seconds_since(start);
    emit(decoder.flush());
    return text;
  }

  void find_roof() {
    std::string missing;
    roof_ = kerf::find_roof(args_.roof, missing);
    if (!missing.empty()) io_.log->warn("{}", missing);
  }

  nlohmann::json stats_json() {
    if (!args_.stats) find_roof();
    const auto& planned = session_.planned(1, 1);
    const Speeds speeds = this->speeds();
    const auto or_null = [](const std::optional<double>& v) { return v ? nlohmann::json(*v) : nlohmann::json(); };
    nlohmann::json j{{"prompt_tokens", stats.prompt_tokens},
                     {"reused_tokens", stats.reused_tokens},
                     {"prompt_tokens_per_second", rate(stats.prompt_tokens, stats.prompt_seconds)},
                     {"prompt_gflop_per_s", speeds.prompt_gflops},
                     {"prompt_percent_unit", or_null(speeds.prompt.unit)},
                     {"prompt_percent_peak", or_null(speeds.prompt.peak)},
                     {"generated_tokens", stats.generated},
                     {"decode_tokens_per_second", rate(stats.decode_passes, stats.decode_seconds)},
                     {"decode_gb_per_s", speeds.decode_gbytes},
                     {"decode_percent_read", or_null(speeds.decode.read)},
                     {"threads", session_.threads()},
                     {"peak_rss_bytes", peak_rss()},
                     {"boundary_bytes_per_token", planned.plan->boundary_bytes()}};
    for (const auto& [id, bytes] : bytes_per_pass(*planned.plan, session_.position())) j["bytes_per_token"][id] = bytes;
    if (const auto resident = file_resident()) j["file"] = {{"bytes", session_.file().bytes()}, {"resident_bytes", *resident}};
    if (const auto t = watch_.touched())
      j["experts"] = {{"touched", t->experts}, {"all", t->all}, {"touched_bytes", t->bytes}, {"bytes", t->all_bytes}};
    for (const auto* device : session_.devices()) j["device_bytes"][device->id()] = session_.taken(device->id());
    return j;
  }

  void print_stats() const {
    const auto& planned = session_.planned(1, 1);
    std::string bytes, memory;
    for (const auto& [id, n] : bytes_per_pass(*planned.plan, session_.position()))
      bytes += fmt::format("{}{} on {}", bytes.empty() ? "" : ", ", human_bytes(n), id);
    for (const auto* device : session_.devices())
      if (device->id() != kHost) memory += fmt::format(", {} {}", device->id(), human_bytes(session_.taken(device->id())));
    const Speeds speeds = this->speeds();
    const std::string_view peak = speeds.roof ? unit_text(speeds.roof->peak().first) : "the fastest unit";
    fmt::print(stderr, "prompt    {} tokens ({} reused), {:.1f} tokens/s, {:.1f} GFLOP/s ({} % of {}, {} % of the units in use)\n",
               stats.prompt_tokens, stats.reused_tokens, rate(stats.prompt_tokens, stats.prompt_seconds), speeds.prompt_gflops,
               percent_text(speeds.prompt.peak), peak, percent_text(speeds.prompt.unit));
    fmt::print(stderr, "decode    {} tokens, {:.1f} tokens/s, {:.1f} GB/s ({} % of the read bandwidth)\n", stats.generated,
               rate(stats.decode_passes, stats.decode_seconds), speeds.decode_gbytes, percent_text(speeds.decode.read));
    fmt::print(stderr, "memory    peak {} resident{}\n", human_bytes(peak_rss()), memory);
    if (const auto t = watch_.touched()) {  // other models touch every weight
      const auto resident = file_resident();
      fmt::print(
          stderr, "experts   {} of {} in all layers touched, {} of {}{}\n", t->experts, t->all, human_bytes(t->bytes), human_bytes(t->all_bytes),
          resident ? fmt::format("; {} of the file's {} resident", human_bytes(*resident), human_bytes(static_cast<int64_t>(session_.file().bytes())))
                   : "");
    }
    fmt::print(stderr, "per token {} read and written, {} over device boundaries\n", bytes, human_bytes(planned.plan->boundary_bytes()));
    fmt::print(stderr, "threads   {}; stopped by {}\n", session_.threads(), stopped);
  }

  Stats stats{};
  std::string stopped{};

 private:
  /// Bytes of the mapped file that this process has in memory now; nothing if the file is not mapped.
  std::optional<int64_t> file_resident() const {
    const auto mappings = session_.file().mappings();
    return mappings.empty() ? std::nullopt : resident_bytes(mappings);
  }

  /// Of the token that follows the last one fed: its logits, or the id that a session of greedy ids gives. Empty if the user asked to
  /// stop meanwhile.
  struct Scores {
    std::vector<float> logits{};
    std::optional<int32_t> greedy{};
    explicit operator bool() const { return greedy || !logits.empty(); }
  };

  Scores forward_prompt(std::span<const int32_t> tokens) {
    const auto batch = static_cast<size_t>(args_.model.batch);
    auto bar = io_.progress_bar("prompt");
    Scores scores;
    for (size_t done = 0; done < tokens.size(); done += batch) {
      scores = forward(tokens.subspan(done, std::min(batch, tokens.size() - done)));
      if (!scores) break;
      bar(static_cast<int64_t>(std::min(done + batch, tokens.size())), static_cast<int64_t>(tokens.size()));
    }
    return scores;
  }

  Scores forward(std::span<const int32_t> tokens) {
    try {
      if (session_.result() == PassResult::greedy_ids) return {.greedy = session_.forward_greedy(tokens)};
      return {.logits = session_.forward(tokens)};
    } catch (const Error& e) {
      if (e.kind != ErrorKind::interrupted) throw;
      stopped = "interrupted";
      return {};
    }
  }

  struct Speeds {
    double prompt_gflops = 0, decode_gbytes = 0;
    RoofShares prompt{}, decode{};
    const RoofFigures* roof = nullptr;
  };
  Speeds speeds() const {
    Work prompt;
    for (int64_t done = 0; done < stats.prompt_tokens; done += args_.model.batch)
      prompt += prompt_work(session_, stats.reused_tokens + done, std::min(args_.model.batch, stats.prompt_tokens - done));
    const Work decode = decode_work(session_, stats.decode_start, stats.decode_passes);
    Speeds s{.roof = roof_ ? roof_->with_threads(session_.threads()) : nullptr};
    s.prompt = roof_shares(s.roof, prompt, stats.prompt_seconds);
    s.prompt_gflops = 1e-9 * rate(prompt.flops, stats.prompt_seconds);
    if (stats.decode_passes > 0) {
      s.decode = roof_shares(s.roof, decode, stats.decode_seconds);
      s.decode_gbytes = 1e-9 * rate(decode.bytes, stats.decode_seconds);
    }
    return s;
  }

  const RunArgs& args_;
  Session& session_;
  const Watch& watch_;
  const Tokenizer& tokenizer_;
  const Io& io_;
  std::optional<Roof> roof_;
  std::vector<int32_t> cached_;  // tokens whose keys and values the cache holds
};

std::string prompt_text(const RunArgs& args) {
  if (!args.file.empty()) return read_file(args.file);
  if (args.prompt == "-") return {std::istreambuf_iterator<char>(std::cin), std::istreambuf_iterator<char>()};
  return args.prompt;
}

int chat(Generator& generator, const RunArgs& args, const Io& io) {
  nlohmann::ordered_json messages = nlohmann::ordered_json::array();
  if (!args.system.empty()) messages.push_back({{"role", "system"}, {"content", args.system}});
  const bool terminal = isatty(STDIN_FILENO);
  if (terminal) fmt::print(stderr, "Type a message; /bye or the end of input ends the chat.\n");
  std::string line = prompt_text(args);
  while (!interrupted()) {
    if (line.empty()) {
      if (terminal) fmt::print(stderr, "> ");
      if (!std::getline(std::cin, line) || line == "/bye") break;
      if (line.empty()) continue;
    }
    messages.push_back({{"role", "user"}, {"content", line}});
    line.clear();
    try {
      // The words that begin an answer, <think> for instance, are not always there once the answer is part of the history.
      const auto prompt = generator.tokens_of_chat(messages), lasting = generator.tokens_of_chat(messages, false);
      const std::string answer = generator.generate(prompt, !io.json, lasting);
      messages.push_back({{"role", "assistant"}, {"content", answer}});
    } catch (const Error& e) {
      if (e.kind != ErrorKind::memory || !terminal) throw;
      io.log->error("error: {}", e.what());  // too long for the context: the conversation goes on without it
      messages.erase(messages.size() - 1);
      continue;
    }
    if (!io.json) io.out("\n");
    if (args.stats) generator.print_stats();
  }
  if (io.json) io.out_json(nlohmann::json{{"schema", 1}, {"messages", messages}});
  return interrupted() ? static_cast<int>(ErrorKind::interrupted) : 0;
}

}  // namespace

int run_command(const RunArgs& args, const Io& io) {
  if (!args.prompt.empty() && !args.file.empty()) throw Error(ErrorKind::usage, "both -p and -f give a prompt", "kerf run", "leave one out");
  if (args.prompt.empty() && args.file.empty() && !args.interactive)
    throw Error(ErrorKind::usage, "there is no prompt", "kerf run", "give -p TEXT, -f FILE or -i");
  if (args.raw && args.interactive) throw Error(ErrorKind::usage, "a chat needs the chat template", "--raw with -i", "leave one out");
  if (args.raw && !args.system.empty())
    throw Error(ErrorKind::usage, "a system message needs the chat template", "--raw with --system", "leave one out");
  const Registry registry = all_kernels();
  SessionOptions options = session_options(args.model);
  options.greedy = Sampler(args.sampler).is_greedy();
  LiveSession live(std::move(options), registry, io);
  Session& session = *live;
  Vocab vocab = read_vocab(session.file());
  for (const auto& w : vocab.warnings) io.log->warn("warning: {}", w);
  const Tokenizer tokenizer(std::move(vocab));
  const bool templated = !args.raw && !tokenizer.vocab().chat_template.empty();
  if (!args.raw && !templated) {
    if (args.interactive || !args.system.empty())
      throw Error(ErrorKind::bad_file, "the file has no chat template", args.model.model, "use --raw without -i and --system");
    io.log->info("the file has no chat template: the prompt is continued as it is");
  }

  Watch watch(args.watch, session, io, args.stats || io.json);
  Generator generator(args, session, watch, tokenizer, io);
  if (args.interactive) {
    const int code = chat(generator, args, io);
    if (code == 0) watch.commit();
    return code;
  }
  const std::string prompt = prompt_text(args);
  stop_if_interrupted();
  std::vector<int32_t> ids;
  if (templated) {
    nlohmann::ordered_json messages = nlohmann::ordered_json::array();
    if (!args.system.empty()) messages.push_back({{"role", "system"}, {"content", args.system}});
    messages.push_back({{"role", "user"}, {"content", prompt}});
    ids = generator.tokens_of_chat(messages);
  } else {
    ids = tokenizer.encode(prompt, {.add_special = true, .parse_special = true});
  }
  if (ids.empty()) throw Error(ErrorKind::usage, "the prompt has no tokens", "-p");
  const std::string text = generator.generate(ids, !io.json);
  if (!interrupted()) watch.commit();
  if (io.json)
    io.out_json(nlohmann::json{{"schema", 1}, {"text", text}, {"stopped_by", generator.stopped}, {"stats", generator.stats_json()}});
  else
    io.out("\n");
  if (args.stats) generator.print_stats();
  return interrupted() ? static_cast<int>(ErrorKind::interrupted) : 0;
}

}  // namespace kerf
