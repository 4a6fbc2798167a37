#include "experiments/cli.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <charconv>
#include <set>
#include <sstream>

#include "backends/backends.h"
#include "core/error.h"
#include "core/text.h"
#include "experiments/commands.h"

namespace kerf {
namespace {

/// llama.cpp's flags of several letters behind one dash (-ngl 99, -ctk=f16) become the long options CLI11 knows.
std::vector<std::string> with_long_dashes(CLI::App& app, const std::vector<std::string>& words) {
  std::set<std::string> known;
  for (CLI::App* command : app.get_subcommands({}))
    for (const CLI::Option* option : command->get_options())
      for (const auto& name : option->get_lnames()) known.insert(name);
  std::vector<std::string> result;
  for (const auto& word : words) {
    const bool one_dash = word.size() > 2 && word[0] == '-' && word[1] != '-';
    if (one_dash && known.contains(word.substr(1, word.find('=') - 1))) {
      result.push_back("-" + word);
    } else if (one_dash && word[2] == '=') {  // -n=5: CLI11 would take "=5" for the value
      result.push_back(word.substr(0, 2));
      result.push_back(word.substr(3));
    } else {
      result.push_back(word);
    }
  }
  return result;
}

/// CLI11 2.1 takes a number above 2^64 - 1 for 2^64 - 1.
std::string unsigned64(const std::string& text) {
  uint64_t value = 0;
  const auto [end, failed] = std::from_chars(text.data(), text.data() + text.size(), value);
  return failed == std::errc{} && end == text.data() + text.size() ? "" : fmt::format("expected an integer 0..2^64-1, got \"{}\"", text);
}
const CLI::Validator kUnsigned64(unsigned64, "");

size_t edit_distance(std::string_view a, std::string_view b) {
  std::vector<size_t> row(b.size() + 1);
  for (size_t j = 0; j <= b.size(); ++j) row[j] = j;
  for (size_t i = 1; i <= a.size(); ++i) {
    size_t diagonal = row[0];
    row[0] = i;
    for (size_t j = 1; j <= b.size(); ++j) {
      const size_t old = row[j];
      row[j] = std::min({old + 1, row[j - 1] + 1, diagonal + (a[i - 1] == b[j - 1] ? 0u : 1u)});
      diagonal = old;
    }
  }
  return row[b.size()];
}

constexpr const char* kHelp = "kerf -h lists the commands, kerf COMMAND -h their options";

std::string nearest_option(const CLI::App& app, const std::vector<std::string>& words) {
  std::vector<std::string> options;
  for (const CLI::App* command : app.get_subcommands({}))
    if (command->parsed())
      for (const CLI::Option* option : command->get_options())
        for (const auto& name : option->get_lnames()) options.push_back("--" + name);
  for (const auto& word : words) {
    const std::string name = word.substr(0, word.find('='));
    if (!name.starts_with("--") || std::find(options.begin(), options.end(), name) != options.end()) continue;
    std::string best;
    size_t least = 4;
    for (const auto& option : options)
      if (const size_t d = edit_distance(name, option); d < least) {
        least = d;
        best = option;
      }
    if (!best.empty()) return fmt::format("did you mean {}?", best);
  }
  return kHelp;
}

/// What --device takes in this build, behind what it is for.
std::string device_help(std::string_view what) {
  std::string text = fmt::format("{}: ", what);
  for (const auto& kind : device_kinds()) text += fmt::format("{}, ", kind.syntax);
  return text + "pretend:N=SIZE, cpu[=SIZE]";
}

void add_common(CLI::App* app, CommonArgs& args) {
  app->add_flag("--json", args.json, "print one JSON document instead of text");
  app->add_flag_callback(
      "-v,--verbose", [&args] { args.verbosity = std::min(args.verbosity + 1, 3); }, "say more on standard error (twice: everything)");
  app->add_flag_callback(
      "-q,--quiet", [&args] { args.verbosity = 0; }, "only errors on standard error");
}

void add_backend(CLI::App* app, ModelArgs& args) {
  app->add_option("--backend", args.backend, "kernels to use: cpu, reference, eigen, onednn, or several in order of preference (eigen,cpu)")
      ->capture_default_str()
      ->group("Kernels");
  app->add_option("--kernel", args.kernels, "OP=NAME or NODE=NAME: this kernel for this op or node (repeatable)")->group("Kernels");
  app->add_option("--isa", args.isa, "highest instruction set to use: base, avx2, avx512, vnni, amx (default: what the machine has)")
      ->group("Kernels");
  app->add_option(
         "--activations", args.activations,
         "what matmuls multiply weights with: q15 (15-bit groups of 512, float weights only), bf16 (bfloat16), q8 (8-bit groups of 16), f32 (as they "
         "are), or auto: the best kernel for each batch and type of weights")
      ->check(CLI::IsMember({"auto", "q15", "bf16", "q8", "f32"}))
      ->capture_default_str()
      ->group("Kernels");
  app->add_flag("--no-repack", args.no_repack,
                "leave weights in the file's layout: loads at once and takes no memory beyond the file's, decodes more slowly")
      ->group("Kernels");
  app->add_flag("--repack-experts", args.repack_experts,
                "repack the weights of experts too: all of them are read at load and stay in memory, and decode faster")
      ->group("Kernels");
  app->add_option("--fuse", args.fuse, fmt::format("which steps may be fused: all, none, or some of {} (kerf plan shows them)", fusion_names()))
      ->capture_default_str()
      ->group("Kernels");
}

void add_model(CLI::App* app, ModelArgs& args) {
  app->add_option("-m,--model", args.model, "GGUF file (the first one of a split model)")->required();
  app->add_option("-t,--threads", args.threads, "threads (default: cores this process may use)")->check(CLI::Range(1, 1024));
  app->add_option("-c,--ctx-size", args.context,
                  "positions the KV cache holds; 0: as many as the model was trained for (default: that, at most 4096)")
      ->check(CLI::Range(int64_t{0}, int64_t{1} << 27));
  app->add_option("-b,--batch-size", args.batch, "prompt tokens handed over at once; -ub is never more than this")
      ->check(CLI::Range(int64_t{1}, int64_t{1} << 27))
      ->capture_default_str();
  app->add_option("--ub,--ubatch-size", args.micro_batch, "tokens computed at once (also -ub)")
      ->check(CLI::Range(int64_t{1}, int64_t{65536}))
      ->capture_default_str();
  app->add_option("--ctk,--cache-type-k", args.ctk,
                  "type of cached keys: f32, f16, bf16, q8_0, q5_1, q5_0, q4_1, q4_0 (also -ctk; default f16, reference backend f32)");
  app->add_option("--ctv,--cache-type-v", args.ctv, "type of cached values (also -ctv)");
  add_backend(app, args);
  const char* place = "Placement";
  app->add_option("--device", args.devices, device_help("a device of this run (repeatable)"))->group(place);
  app->add_option("--ngl,--n-gpu-layers,--gpu-layers", args.gpu_layers, "place the last N layers (the head counts as one) on the devices (also -ngl)")
      ->check(CLI::Range(int64_t{0}, int64_t{100000}))
      ->group(place);
  app->add_option("--ts,--tensor-split", args.tensor_split, "shares of the devices in these layers, e.g. 3,1")->group(place);
  app->add_option("--ot,--override-tensor", args.overrides, "REGEX=DEVICE[,...]: place matching weights and KV (also -ot, repeatable)")->group(place);
  auto* all_experts =
      app->add_flag("--cmoe,--cpu-moe", args.cpu_moe, "keep the weights of experts on the host, whatever -ngl says (also -cmoe)")->group(place);
  app->add_option("--ncmoe,--n-cpu-moe", args.n_cpu_moe, "the same for the first N layers only (also -ncmoe)")
      ->check(CLI::Range(int64_t{0}, int64_t{100000}))
      ->excludes(all_experts)
      ->group(place);
  app->add_option("--rules", args.rules, "file of `PATTERN DEVICE` lines, first match wins")->group(place);
  app->add_option("--plan", args.plan, "execute a plan that `kerf plan --save` wrote")->group(place);
  app->add_flag("--no-mmap", args.no_mmap, "read the file into memory instead of mapping it")->group("File");
  app->add_flag("--strict", args.strict, "warnings about the file are errors")->group("File");
  app->add_flag("--check", args.check, "scan all weights for NaN and infinity first")->group("File");
}

void add_watch(CLI::App* app, WatchArgs& args) {
  const char* group = "Watching";
  app->add_option("--dump-routing", args.dump_routing,
                  "write which experts each token goes to, and their weights, to this file: JSON lines, one per pass (micro-batch), layer and "
                  "position, after one about the run. Where only some logits are wanted, the last layer routes only their positions")
      ->group(group);
  auto* capture = app->add_option("--capture", args.capture,
                                  "write each value whose name matches this regular expression to DIR/NAME.npy, as float32: the rows of "
                                  "all passes; of states what they hold in the end. kerf plan lists the names; values between fused ops "
                                  "need --fuse none. DIR/capture.json says which rows are of which positions")
                      ->group(group);
  auto* dir = app->add_option("--capture-dir", args.capture_dir, "DIR of --capture; made if there is none")->needs(capture)->group(group);
  capture->needs(dir);
}

void add_sampler(CLI::App* app, SamplerOptions& s) {
  const char* group = "Sampling";
  app->add_option("--temp", s.temp, "temperature; 0: always the most probable token")
      ->check(CLI::Range(0.0, 100.0))
      ->capture_default_str()
      ->group(group);
  app->add_option("--top-k", s.top_k, "keep the K most probable tokens; 0: all")->check(CLI::Range(0, 1 << 30))->capture_default_str()->group(group);
  app->add_option("--top-p", s.top_p, "keep the smallest set with this probability")
      ->check(CLI::Range(0.0, 1.0))
      ->capture_default_str()
      ->group(group);
  app->add_option("--min-p", s.min_p, "drop tokens below this share of the most probable one")
      ->check(CLI::Range(0.0, 1.0))
      ->capture_default_str()
      ->group(group);
  app->add_option("--repeat-penalty", s.repeat_penalty, "weaken tokens of the recent past; 1: off")
      ->check(CLI::Range(0.01, 100.0))
      ->capture_default_str()
      ->group(group);
  app->add_option("--repeat-last-n", s.repeat_last_n, "how much past that is")->check(CLI::Range(0, 1 << 20))->capture_default_str()->group(group);
  app->add_option("-s,--seed", s.seed, "seed of the random choices")->check(kUnsigned64)->capture_default_str()->group(group);
}

void add_roof(CLI::App* app, std::string& path) {
  app->add_option("--roof", path, "file of figures that `kerf roof --save` wrote (default: where it writes them)");
}

std::string example(std::string_view text) { return fmt::format("\nExample:\n  {}\n", text); }

}  // namespace

Command parse_command_line(const std::vector<std::string>& words) {
  Command result;
  CommonArgs& common = result.common;
  RunArgs run;
  LogitsArgs logits;
  TokenizeArgs tokenize;
  InspectArgs inspect;
  BenchArgs bench;
  RoofArgs roof;
  PerplexityArgs perplexity;
  TraceArgs trace;
  PlanArgs plan;
  KernelArgs kernels;
  LadderArgs ladder;
  SynthArgs synth;

  CLI::App app("kerf: a research inference kernel suite. It runs GGUF models and shows every byte it moves.\n", "kerf");
  app.require_subcommand(1);
  app.footer(
      "Exit codes: 0 done, 1 failed at run time, 2 wrong usage, 3 bad or unsupported file, 4 does not fit, 5 a check failed, 130 interrupted.\n"
      "kerf COMMAND -h shows the options of a command.");

  auto* c = app.add_subcommand("run", "generate text");
  add_model(c, run.model);
  c->add_option("-p,--prompt", run.prompt, "the prompt; - reads standard input");
  c->add_option("-f,--file", run.file, "file with the prompt");
  c->add_option("-n,--n-predict", run.n_predict, "tokens to generate; -1: until the model ends")
      ->check(CLI::Range(int64_t{-1}, int64_t{1} << 40))
      ->capture_default_str();
  c->add_option("--system", run.system, "system message");
  c->add_flag("--raw", run.raw, "no chat template: continue the prompt as it is");
  c->add_flag("-i,--interactive", run.interactive, "chat at the terminal");
  c->add_flag("--stats", run.stats, "print speed, memory and bytes per token to standard error at the end");
  add_roof(c, run.roof);
  add_sampler(c, run.sampler);
  add_watch(c, run.watch);
  add_common(c, common);
  c->footer(example("kerf run -m model.gguf -p \"Why is the sky blue?\" -n 64 --stats"));
  c->callback([&] { result.run = [run](const Io& io) { return run_command(run, io); }; });

  c = app.add_subcommand("logits", "logits of given tokens, for checks against other programs");
  add_model(c, logits.model);
  c->add_option("--tokens", logits.tokens, "JSON file with an array of token ids")->required();
  c->add_option("--out", logits.out, "write float32 logits [n, vocab] to this .npy file");
  c->add_option("--last", logits.last, "only the last K positions")->check(CLI::Range(int64_t{1}, int64_t{1} << 40));
  c->add_option("--chunk", logits.chunk, "feed N tokens at a time (1: one by one); default: all")->check(CLI::Range(int64_t{1}, int64_t{1} << 40));
  c->add_option("--greedy", logits.greedy, "then continue with the N most probable tokens")->check(CLI::Range(int64_t{1}, int64_t{1} << 40));
  c->add_option("--out-ids", logits.out_ids, "write the continuation to this JSON file (default: standard output)");
  add_watch(c, logits.watch);
  add_common(c, common);
  c->footer(example("kerf logits -m model.gguf --tokens ids.json --out logits.npy --backend reference"));
  c->callback([&] { result.run = [logits](const Io& io) { return logits_command(logits, io); }; });

  c = app.add_subcommand("tokenize", "text to token ids, or back");
  c->add_option("-m,--model", tokenize.model, "GGUF file")->required();
  auto* prompt = c->add_option("-p,--prompt", tokenize.prompt, "the text");
  c->add_option("-f,--file", tokenize.file, "file with the text");
  c->add_flag("--pieces", tokenize.pieces, "print each id with its piece of text");
  c->add_option("--decode", tokenize.decode, "JSON file with ids: print their text");
  c->add_flag("--no-special", tokenize.no_special, "special tokens in the text are plain text; none are added");
  c->add_flag("--no-bos", tokenize.no_bos, "add no begin or end token, but parse special tokens in the text");
  add_common(c, common);
  c->footer(example("kerf tokenize -m model.gguf -p \"Hello world\" --pieces"));
  c->callback([&, prompt] {
    tokenize.has_prompt = prompt->count() > 0;
    result.run = [tokenize](const Io& io) { return tokenize_command(tokenize, io); };
  });

  c = app.add_subcommand("inspect", "metadata, tensors, types and sizes of a file");
  c->add_option("model,-m,--model", inspect.model, "GGUF file")->required();
  c->add_flag("--tensors", inspect.tensors, "list the tensors");
  c->add_option("--metadata", inspect.key, "print one metadata value");
  c->add_flag("--check", inspect.check, "scan all weights for NaN and infinity");
  c->add_flag("--strict", inspect.strict, "warnings about the file are errors");
  add_common(c, common);
  c->footer(example("kerf inspect model.gguf --tensors"));
  c->callback([&] { result.run = [inspect](const Io& io) { return inspect_command(inspect, io); }; });

  c = app.add_subcommand("bench", "speed of prompt processing (pp) and generation (tg)");
  add_model(c, bench.model);
  for (const char* single : {"--threads", "--ubatch-size", "--cache-type-k", "--cache-type-v"}) c->remove_option(c->get_option(single));
  c->add_option("-t,--threads", bench.threads, "threads, a list")->delimiter(',')->check(CLI::Range(1, 1024));
  c->add_option("--ub,--ubatch-size", bench.micro_batch, "tokens computed at once, a list (also -ub; default 512)")
      ->delimiter(',')
      ->check(CLI::Range(int64_t{1}, int64_t{65536}));
  c->add_option("--ctk,--cache-type-k", bench.ctk, "types of cached keys, a list (also -ctk; default f16, reference backend f32)")->delimiter(',');
  c->add_option("--ctv,--cache-type-v", bench.ctv, "types of cached values, a list (also -ctv)")->delimiter(',');
  c->add_option("-p,--n-prompt", bench.n_prompt, "prompt lengths, a list; 0: none")
      ->delimiter(',')
      ->check(CLI::Range(int64_t{0}, int64_t{1} << 27))
      ->capture_default_str();
  c->add_option("-n,--n-gen", bench.n_gen, "tokens to generate, a list; 0: none")
      ->delimiter(',')
      ->check(CLI::Range(int64_t{0}, int64_t{1} << 27))
      ->capture_default_str();
  c->add_option("-d,--n-depth", bench.n_depth, "positions already in the cache, a list")
      ->delimiter(',')
      ->check(CLI::Range(int64_t{0}, int64_t{1} << 27))
      ->capture_default_str();
  c->add_option("-r,--repetitions", bench.repetitions, "repetitions of each test")->check(CLI::Range(1, 10000))->capture_default_str();
  c->add_option("-o,--output", bench.output, "md, json, jsonl or csv (default: md, with --json json)")
      ->check(CLI::IsMember({"md", "json", "jsonl", "csv"}));
  add_roof(c, bench.roof);
  add_common(c, common);
  c->footer(example("kerf bench -m model.gguf -p 512 -n 128 -r 3"));
  c->callback([&] { result.run = [bench](const Io& io) { return bench_command(bench, io); }; });

  c = app.add_subcommand("roof", "what this machine can do at most: memory, caches, arithmetic units");
  c->add_option("-t,--threads", roof.threads, "threads, a list (default: 1 and all cores this process may use)")
      ->delimiter(',')
      ->check(CLI::Range(1, 1024));
  c->add_option("--seconds", roof.seconds, "time for the measurements")->check(CLI::Range(0.01, 3600.0))->capture_default_str();
  c->add_option("--only", roof.only, "only these parts: read, caches, units, amx, exp")
      ->delimiter(',')
      ->check(CLI::IsMember({"read", "caches", "units", "amx", "exp"}));
  c->add_option("--buffer", roof.buffer, "memory to read (default: 1 GiB or four times the last cache, whichever is more)");
  c->add_option("--device", roof.device, device_help("of this device instead"))
      ->excludes(c->get_option("--threads"))
      ->excludes(c->get_option("--only"));
  c->add_flag("--save", roof.save, "keep the figures, for percent of the roof in run, bench and kernels bench");
  add_common(c, common);
  c->footer(example("kerf roof --save"));
  c->callback([&] { result.run = [roof](const Io& io) { return roof_command(roof, io); }; });

  c = app.add_subcommand("perplexity", "how well the model predicts a text");
  add_model(c, perplexity.model);
  c->get_option("--ctx-size")->description("tokens of a chunk; the second half of each is scored (default 512)");
  c->add_option("-f,--file", perplexity.file, "file with the text")->required();
  c->add_option("--chunks", perplexity.max_chunks, "only the first N chunks")->check(CLI::Range(int64_t{1}, int64_t{1} << 40));
  add_watch(c, perplexity.watch);
  add_common(c, common);
  c->footer(example("kerf perplexity -m model.gguf -f text.txt -c 512"));
  c->callback([&] { result.run = [perplexity](const Io& io) { return perplexity_command(perplexity, io); }; });

  c = app.add_subcommand("trace", "a run step by step: device, kernel, time, bytes, idle threads");
  add_model(c, trace.model);
  c->add_option("-p,--prompt", trace.prompt, "the prompt");
  c->add_option("--tokens", trace.tokens, "a prompt of N random tokens instead")->check(CLI::Range(int64_t{1}, int64_t{1} << 27));
  c->add_option("-n,--n-predict", trace.n_predict, "tokens to generate after it")
      ->check(CLI::Range(int64_t{0}, int64_t{1} << 27))
      ->capture_default_str();
  c->add_flag("--nodes", trace.nodes, "table: a row for each node, all layers together (default: for each kernel)");
  c->add_flag("--steps", trace.steps, "table: a row for each step of the plan");
  c->add_flag("--no-warmup", trace.no_warmup, "trace the first run, which reads weights and makes plans (default: the second)");
  c->add_option("-o,--out", trace.out, "write to this file (default: standard output)");
  c->add_option("--format", trace.format,
                "table, json (every step of every pass) or chrome (trace events for Perfetto) (default: table, with --json json)")
      ->check(CLI::IsMember({"table", "json", "chrome"}));
  add_common(c, common);
  c->footer(example("kerf trace -m model.gguf --tokens 128 -n 32"));
  c->callback([&] { result.run = [trace](const Io& io) { return trace_command(trace, io); }; });

  c = app.add_subcommand("plan", "what lies where, what runs where, which bytes move");
  add_model(c, plan.model);
  c->add_option("--tokens", plan.tokens, "the plan for a micro-batch of N tokens (default: -ub and 1)")
      ->check(CLI::Range(int64_t{1}, int64_t{65536}));
  c->add_flag("--greedy", plan.greedy,
              "the plans of kerf run --temp 0, where the device of the head chooses the token and only its id comes to the host");
  c->add_option("--save", plan.save, "write the plan to a file that --plan reads");
  c->add_option("--why", plan.why, "where one weight or KV tensor lives, and because of which rule");
  add_common(c, common);
  c->footer(example("kerf plan -m model.gguf --device pretend:0=512MiB -ngl 8"));
  c->callback([&] { result.run = [plan](const Io& io) { return plan_command(plan, io); }; });

  c = app.add_subcommand("kernels", "every kernel of every backend");
  c->require_subcommand(1);
  c->footer(example("kerf kernels list matmul.q4_k"));
  const auto kernel_action = [&](const char* name, const char* what, const char* sample) {
    auto* k = c->add_subcommand(name, what);
    add_common(k, common);
    k->footer(example(sample));
    k->callback([&, name] {
      kernels.action = name;
      result.run = [kernels](const Io& io) { return kernels_command(kernels, io); };
    });
    return k;
  };
  const auto add_tokens_and_shape = [&](CLI::App* action) {
    action->add_option("-T,--tokens", kernels.tokens, "batch sizes, a list")
        ->delimiter(',')
        ->check(CLI::Range(int64_t{1}, int64_t{65536}))
        ->capture_default_str();
    action->add_option("--shape", kernels.shape, "N,K: rows and columns of the weights of matmul (default 8960,1536)");
  };
  auto* k = kernel_action("list", "what exists", "kerf kernels list matmul.q4_k");
  k->add_option("filter", kernels.filter, "only names that contain one of these");
  k = kernel_action("explain", "which kernel each op of a model gets, and why not the others", "kerf kernels explain -m model.gguf blk.0.attn_q");
  add_model(k, kernels.model);
  k->add_option("filter", kernels.filter, "only nodes whose names contain one of these");
  k = kernel_action("test", "every kernel against the reference", "kerf kernels test cpu/matmul.q4_k");
  k->add_option("filter", kernels.filter, "only names that contain one of these");
  k->add_option("--seed", kernels.seed, "seed of the random data")->check(kUnsigned64)->capture_default_str();
  k->add_option("--case", kernels.only_case, "only this case of the op's list")->check(CLI::Range(int64_t{0}, int64_t{1} << 40));
  k->add_option("--isa", kernels.model.isa, "highest instruction set to use");
  k->add_option("--device", kernels.device, device_help("run them there; without it, those of the host"));
  k = kernel_action("bench", "speed of kernels: GB/s, GFLOP/s and percent of the roof", "kerf kernels bench matmul.q4_k -T 1,512");
  k->add_option("filter", kernels.filter, "only names that contain one of these");
  k->add_option("--seconds", kernels.seconds, "time for each row")->check(CLI::Range(0.001, 3600.0))->capture_default_str();
  add_tokens_and_shape(k);
  k->add_option("--device", kernels.device, device_help("run them there; without it, those of the host"));
  add_roof(k, kernels.roof);
  k->add_option("--isa", kernels.model.isa, "highest instruction set to use");
  k->add_option("-t,--threads", kernels.model.threads, "threads")->check(CLI::Range(1, 1024));
  k = kernel_action("launches", "what kernels of GPUs launch: functions, blocks, threads, shared memory; arithmetic and bytes of the problem",
                    "kerf kernels launches emu/matmul -T 1,512");
  k->add_option("filter", kernels.filter, "only names that contain one of these");
  add_tokens_and_shape(k);
  k->add_option("--device", kernels.device, device_help("a device that has the kernels; default emu:0=1GiB"));
  k = kernel_action("ladder", "the rungs of one computation from naive to best, side by side", "kerf kernels ladder matmul.q4_k -T 1,512");
  k->add_option("name", ladder.name, "op, or op.type: matmul.q4_k, attention, attention.q8_0, rms_norm")->required();
  k->add_option("-T,--tokens", ladder.tokens, "tokens, a list (default: 1,512 for matmul and attention, else 32)")
      ->delimiter(',')
      ->check(CLI::Range(int64_t{1}, int64_t{4096}));
  k->add_option("-t,--threads", ladder.threads, "threads (default: cores this process may use)")->check(CLI::Range(1, 1024));
  k->add_option("--seconds", ladder.seconds, "time for each rung")->check(CLI::Range(0.001, 3600.0))->capture_default_str();
  k->add_option("--rotate", ladder.rotate,
                "calls take turns with so much of weights or cache, so that they come from memory; 0: one copy, from the caches")
      ->capture_default_str();
  k->add_option("--isa", ladder.isa, "highest instruction set to use");
  k->callback([&] { result.run = [ladder](const Io& io) { return ladder_command(ladder, io); }; });
  kernel_action("coverage", "op x type x backend: the best kernel, or the reason why there is none", "kerf kernels coverage");

  c = app.add_subcommand("synth", "write a model with a true shape and random weights, to study memory and speed without the weights");
  auto* list = c->add_flag("--list", synth.list, "the shapes, with their parameters and the size of a file of each mix");
  std::vector<CLI::Option*> writing{
      c->add_option("out", synth.out, "GGUF file to write"),
      c->add_option("--shape", synth.shape, "a model of --list, as llama-3.1-8b"),
      c->add_option("--mix", synth.mix, "types of the weights, as Q4_K_M: what llama-quantize gives each tensor without an importance matrix"),
      c->add_option("--layers", synth.layers, "only N layers; of hybrid models a multiple of the period of their layers")
          ->check(CLI::Range(int64_t{1}, int64_t{1024})),
      c->add_option("--context", synth.context, "context_length of the file (default: the model's)")->check(CLI::Range(int64_t{1}, int64_t{1} << 27)),
      c->add_option("-s,--seed", synth.seed, "seed of the weights: the same seed gives the same file")->check(kUnsigned64)->capture_default_str(),
      c->add_option("-t,--threads", synth.threads, "threads (default: cores this process may use)")->check(CLI::Range(1, 1024)),
      c->add_flag("--dry-run", synth.dry_run, "say how large the file would be, write nothing")};
  for (auto* option : writing) list->excludes(option);
  add_common(c, common);
  c->footer(example("kerf synth --shape qwen3-30b-a3b --mix Q4_K_M --layers 8 part.gguf"));
  c->callback([&] { result.run = [synth](const Io& io) { return synth_command(synth, io); }; });

  c = app.add_subcommand("version", "version, compiler, instruction set and optional parts");
  add_common(c, common);
  c->footer(example("kerf version --json"));
  c->callback([&] { result.run = [](const Io& io) { return version_command(io); }; });

  std::vector<std::string> reversed = with_long_dashes(app, words);
  std::reverse(reversed.begin(), reversed.end());  // CLI11 takes the words last first
  try {
    app.parse(reversed);
  } catch (const CLI::CallForHelp& e) {
    std::ostringstream help;
    app.exit(e, help, help);
    result.run = [text = help.str()](const Io& io) {
      io.out(text);
      return 0;
    };
  } catch (const CLI::ExtrasError& e) {
    throw Error(ErrorKind::usage, printable(e.what(), 400), "", nearest_option(app, with_long_dashes(app, words)));
  } catch (const CLI::ParseError& e) {
    throw Error(ErrorKind::usage, printable(e.what(), 400), "", kHelp);
  }
  return result;
}

}  // namespace kerf
