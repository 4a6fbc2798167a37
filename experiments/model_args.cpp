// From what was written on the command line to what a session needs.
#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>

#include "backends/backends.h"
#include "core/error.h"
#include "core/rewrite.h"
#include "core/text.h"
#include "experiments/commands.h"
#include "quant/encode.h"

namespace kerf {

namespace {

std::vector<std::string> split(std::string_view text, char at) {
  std::vector<std::string> parts;
  while (true) {
    const size_t end = std::min(text.find(at), text.size());
    parts.emplace_back(text.substr(0, end));
    if (end == text.size()) return parts;
    text.remove_prefix(end + 1);
  }
}

std::optional<DType> cache_type(const std::string& name, const char* flag) {
  if (name.empty()) return std::nullopt;
  const auto t = dtype_named(name);
  if (t && quant::is_cache_type(*t)) return t;
  throw Error(ErrorKind::usage, fmt::format("no KV cache of type \"{}\"", printable(name)), flag,
              "f32, f16 and bf16; q8_0, q5_1, q5_0, q4_1 and q4_0 for heads of a multiple of 32");
}

}  // namespace

Registry all_kernels() {
  Registry registry;
  fill_all(registry);
  return registry;
}

std::string fusion_names() {
  std::string names;
  for (const RewriteInfo& r : rewrites()) names += fmt::format("{}, ", r.name);
  return names + "format";
}

KernelPolicy kernel_policy(const ModelArgs& args) {
  KernelPolicy policy{.backends = split(args.backend, ','), .isa = detect_isa()};
  for (const auto& b : policy.backends)
    if (!runs_on(b, kHost))
      throw Error(ErrorKind::usage, fmt::format("kernels of {} run on devices of their own", b), "--backend",
                  fmt::format("leave it out, and place weights there: --device {}:0=4GiB -ngl 99", b));
    else if (const auto names = backend_names(); std::find(names.begin(), names.end(), b) == names.end())
      throw Error(ErrorKind::usage, fmt::format("no backend is called \"{}\"", printable(b)), "--backend",
                  fmt::format("this build has {}; kerf version says what was left out and why", fmt::join(names, ", ")));
  if (!args.isa.empty()) {
    const auto isa = isa_named(args.isa);
    if (!isa)
      throw Error(ErrorKind::usage, fmt::format("no instruction set is called \"{}\"", printable(args.isa)), "--isa",
                  "base, avx2, avx512, vnni or amx");
    if (*isa > policy.isa) throw Error(ErrorKind::usage, fmt::format("this machine has {}, not {}", name_of(policy.isa), args.isa), "--isa");
    policy.isa = *isa;
  }
  for (const auto& text : args.kernels) {
    const size_t equals = text.find('=');
    if (equals == std::string::npos) throw Error(ErrorKind::usage, fmt::format("expected OP=NAME, got \"{}\"", printable(text)), "--kernel");
    policy.pins.push_back({text.substr(0, equals), text.substr(equals + 1)});
  }
  if (args.activations == "f32") policy.activations = {DType::f32};
  if (args.activations == "q8") policy.activations = {DType::f32, DType::q8_g16};
  if (args.activations == "bf16") policy.activations = {DType::f32, DType::bf16_t16};
  if (args.activations == "q15") policy.activations = {DType::f32, DType::q15_t16};
  if (args.no_repack && args.repack_experts)
    throw Error(ErrorKind::usage, "one asks for what the other forbids", "--no-repack, --repack-experts", "leave one out");
  policy.repack = !args.no_repack;
  policy.repack_experts = args.repack_experts;
  policy.fusions = split(args.fuse, ',');
  for (const auto& name : policy.fusions) {
    const bool known = name == "all" || name == "none" || name == "format" ||
                       std::any_of(rewrites().begin(), rewrites().end(), [&](const RewriteInfo& r) { return r.name == name; });
    if (!known) throw Error(ErrorKind::usage, fmt::format("no fusion is called \"{}\"", printable(name)), "--fuse", "all, none, " + fusion_names());
  }
  return policy;
}

SessionOptions session_options(const ModelArgs& args) {
  if (args.model.empty()) throw Error(ErrorKind::usage, "the name of the model is empty", "-m");
  SessionOptions o;
  o.model = args.model;
  o.file = {.access = args.no_mmap ? gguf::Access::read : gguf::Access::mmap, .strict = args.strict};
  o.check = args.check;
  o.context = args.context;
  o.micro_batch = std::min(args.micro_batch, args.batch);
  o.k = cache_type(args.ctk, "-ctk");
  o.v = cache_type(args.ctv, "-ctv");
  o.threads = args.threads;
  o.devices = args.devices;
  o.gpu_layers = args.gpu_layers;
  if (!args.tensor_split.empty() && !args.gpu_layers)
    throw Error(ErrorKind::usage, "it shares out the layers of -ngl, which is not given", "--tensor-split");
  if (!args.tensor_split.empty())
    for (const auto& part : split(args.tensor_split, ',')) {
      double share = 0;
      const auto [end, failed] = std::from_chars(part.data(), part.data() + part.size(), share);
      if (failed != std::errc{} || end != part.data() + part.size() || !std::isfinite(share))
        throw Error(ErrorKind::usage, fmt::format("not a number: \"{}\"", printable(part)), "--tensor-split");
      o.tensor_split.push_back(share);
    }
  for (const auto& text : args.overrides)
    for (auto& rule : parse_override(text)) o.rules.push_back(std::move(rule));
  if (!args.rules.empty())
    for (auto& rule : parse_rules(read_file(args.rules), args.rules)) o.rules.push_back(std::move(rule));
  o.cpu_moe = args.cpu_moe;
  o.n_cpu_moe = args.n_cpu_moe;
  if (!args.plan.empty() && (o.gpu_layers || !o.rules.empty() || o.cpu_moe || o.n_cpu_moe))
    throw Error(ErrorKind::usage, "--plan already says where everything lives", "-ngl, -ot, --rules, --cpu-moe, --n-cpu-moe", "leave them out");
  if (!args.plan.empty() && (args.no_repack || args.repack_experts))
    throw Error(ErrorKind::usage, "--plan already says how every weight is stored", "--no-repack, --repack-experts", "leave them out");
  o.plan_file = args.plan;
  o.policy = kernel_policy(args);
  return o;
}

void announce(Session& session, const Io& io) {
  for (const auto& w : session.warnings()) io.log->warn("warning: {}", w);
  const Plan& plan = *session.planned(1, 1).plan;
  std::string line;
  for (const auto& [id, m] : plan.memory)
    line +=
        fmt::format("{}{}: {} weights, {} KV {}/{}, {} compute", line.empty() ? "" : "; ", id, human_bytes(m.weights), human_bytes(m.state),
                    name_of(session.k_type()), name_of(session.v_type()), human_bytes(session.taken(id) > 0 ? session.reserved_arena(id) : m.arena));
  io.log->info("{}; {} threads, context {}", line, session.threads(), session.context());
}

LiveSession::LiveSession(SessionOptions options, const Registry& registry, const Io& io)
    : session_(std::move(options), registry, io.progress_bar("loading")), guard_(session_.file().mappings()) {
  announce(session_, io);
  session_.after_step([this] {
    guard_.check();
    stop_if_interrupted();
  });
}

}  // namespace kerf
