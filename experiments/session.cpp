#include "experiments/session.h"

#include <fmt/format.h>

#include <algorithm>
#include <fstream>
#include <numeric>
#include <set>

#include "backends/backends.h"
#include "core/error.h"
#include "core/rewrite.h"
#include "core/text.h"
#include "experiments/io.h"
#include "loaders/tokenizer/vocab.h"
#include "loaders/weights.h"

namespace kerf {
namespace {

constexpr int64_t kDefaultContext = 4096;  // long enough for a conversation; the KV of 128 Ki positions would not fit most machines

/// MemAvailable of /proc/meminfo in bytes; nothing if the system does not say.
std::optional<int64_t> available_memory() {
  std::ifstream info("/proc/meminfo");
  std::string key, unit;
  for (int64_t kib = 0; info >> key >> kib >> unit;)
    if (key == "MemAvailable:") return kib * 1024;
  return std::nullopt;
}

}  // namespace

Session::Session(SessionOptions options, const Registry& registry, const Progress& progress)
    : options_(std::move(options)),
      registry_(registry),
      pool_(options_.threads > 0 ? options_.threads : usable_cores()),
      file_(gguf::File::open(options_.model, options_.file)) {
  model_ = load_model(file_, warnings_, options_.file.strict);
  weight_bytes_ = std::make_unique<WeightBytes>(file_, model_->assemblies());
  if (options_.check) {
    const auto bad = scan_values(file_);
    if (!bad.empty()) throw bad.front();
  }
  warnings_.insert(warnings_.end(), file_.warnings().begin(), file_.warnings().end());
  const HParams& h = model_->hparams();
  context_ = options_.context.value_or(std::min(h.n_ctx_train, kDefaultContext));
  if (context_ == 0) context_ = h.n_ctx_train;
  if (context_ > h.n_ctx_train && h.n_ctx_train > 0)
    warnings_.push_back(fmt::format("-c {} is longer than the {} positions the model was trained for", context_, h.n_ctx_train));
  const bool reference = options_.policy.backends.front() == "reference";
  k_ = options_.k.value_or(reference ? DType::f32 : DType::f16);
  v_ = options_.v.value_or(reference ? DType::f32 : DType::f16);
  options_.micro_batch = std::min(options_.micro_batch, context_);
  options_.max_outputs = std::clamp<int64_t>(options_.max_outputs, 1, options_.micro_batch);

  for (const auto& text : options_.devices) {
    auto device = make_device(text, device_kinds());
    for (const auto& other : devices_)
      if (other->id() == device->id()) throw Error(ErrorKind::usage, fmt::format("{} is given twice", device->id()), "--device");
    devices_.push_back(std::move(device));
  }
  const auto host = std::find_if(devices_.begin(), devices_.end(), [](const auto& d) { return d->id() == kHost; });
  if (host == devices_.end())
    devices_.insert(devices_.begin(), host_device());
  else
    std::rotate(devices_.begin(), host, host + 1);

  if (!options_.plan_file.empty()) plan_file_ = parse_plan_file(read_file(options_.plan_file), options_.plan_file);
  result_ = result_of_passes();
  const Graph graph = model_->graph(graph_options(1, 1));
  for (const Node& node : graph.nodes())
    for (const Value v : node.out)
      if (is_recurrent(node.op) && graph[v].alias_of) recurrent_.push_back(graph[graph.storage(v)].name);
  if (plan_file_) {
    const int64_t planned_for = plan_file_->sections.front().shape.context;
    if (planned_for != context_)
      throw Error(ErrorKind::usage, fmt::format("the plan was made for a context of {}, this run has {}", planned_for, context_), options_.plan_file,
                  fmt::format("use -c {}", planned_for));
    check_homes(*plan_file_, graph);
    std::string shapes;
    for (const auto& section : plan_file_->sections)
      shapes += fmt::format("{}{} tokens with {} {}", shapes.empty() ? "" : ", ", section.shape.tokens, section.shape.outputs,
                            section.shape.result == PassResult::logits ? "rows of logits" : "greedy ids");
    warnings_.push_back(
        fmt::format("{} has steps for {}; micro-batches of other shapes are planned anew over its placement", printable(options_.plan_file), shapes));
    placement_ = plan_file_->placement;
    for (const auto& home : placement_.homes)
      if (std::none_of(devices_.begin(), devices_.end(), [&](const auto& d) { return d->id() == home.device; }))
        throw Error(ErrorKind::usage, fmt::format("the plan places {} on {}, which this run has not", home.name, home.device), options_.plan_file,
                    "add --device " + home.device + "=SIZE");
  } else {
    std::vector<DeviceId> ids, accelerators;
    for (const auto& d : devices_) {
      ids.push_back(d->id());
      if (d->id() != kHost) accelerators.push_back(d->id());
    }
    std::vector<Rule> rules = options_.rules;
    if (options_.cpu_moe || options_.n_cpu_moe) {
      if (h.experts.count == 0)
        throw Error(ErrorKind::usage, "the model has no experts", options_.cpu_moe ? "--cpu-moe" : "--n-cpu-moe", "leave it out");
      for (auto& rule : expert_rules(h.n_layer, options_.n_cpu_moe)) rules.push_back(std::move(rule));
    }
    for (auto& rule : layer_rules(h.n_layer, options_.gpu_layers.value_or(0), accelerators, options_.tensor_split)) rules.push_back(std::move(rule));
    placement_ = place(graph, rules, ids);
    prepare(placement_, graph, registry_, options_.policy);
  }

  for (const auto& pin : options_.policy.pins) {
    const bool known = std::any_of(graph.nodes().begin(), graph.nodes().end(), [&](const Node& n) { return n.name == pin.op; }) ||
                       std::any_of(registry_.all().begin(), registry_.all().end(), [&](const Kernel& k) { return k.op == pin.op; });
    if (!known)
      throw Error(ErrorKind::usage, fmt::format("\"{}\" is neither an op nor a node of this model", printable(pin.op)), "--kernel",
                  "kerf kernels explain lists the nodes");
  }
  for (const auto& pin : options_.policy.pins)
    if (!registry_.find(pin.kernel))
      throw Error(ErrorKind::usage, fmt::format("no kernel is named \"{}\"", printable(pin.kernel)), "--kernel " + pin.op,
                  "kerf kernels list shows all names");
  for (const auto& pin : options_.policy.pins)
    if (std::none_of(devices_.begin(), devices_.end(), [&](const auto& d) { return runs_on(registry_.find(pin.kernel)->backend, d->id()); }))
      throw Error(ErrorKind::usage, fmt::format("{} runs on no device of this run", pin.kernel), "--kernel " + pin.op,
                  fmt::format("add --device {}:0=4GiB and place weights there", registry_.find(pin.kernel)->backend));
  // Shapes that every run may need decide the memory: the largest micro-batch and one token.
  const Plan& large = *planned(options_.micro_batch, options_.max_outputs).plan;
  const Plan& small = *planned(1, 1).plan;
  std::vector<const Device*> devices = this->devices();
  check_fits({&large, &small}, devices);
  for (const Plan* plan : {&large, &small})
    for (const auto& [id, memory] : plan->memory) reserved_[id] = std::max(reserved_[id], memory.arena);
  if (options_.plan_only) return;

  check_host_memory();
  std::vector<Device*> owned;
  for (const auto& d : devices_) owned.push_back(d.get());
  storage_ = std::make_unique<Storage>(owned, graph, placement_,
                                       Storage::Weights{.source = [this](const std::string& name) { return weight_bytes_->of(name); },
                                                        .done = [this](const std::string& name) { weight_bytes_->release(name); }},
                                       registry_, pool_, progress);
  storage_->reserve(large);
  storage_->reserve(small);
  tokens_.resize(static_cast<size_t>(options_.micro_batch));
  positions_.resize(tokens_.size());
  output_rows_.resize(tokens_.size());
}

PassResult Session::result_of_passes() const {
  const auto of_logits = [](const PlanFile::Section& s) { return s.shape.result == PassResult::logits; };
  const bool planned_for_logits = plan_file_ && std::any_of(plan_file_->sections.begin(), plan_file_->sections.end(), of_logits);
  return options_.greedy && !planned_for_logits && !suppresses_tokens(file_) ? PassResult::greedy_ids : PassResult::logits;
}

GraphOptions Session::graph_options(int64_t tokens, int64_t outputs) const {
  return {.tokens = tokens, .outputs = outputs, .context = context_, .k = k_, .v = v_, .result = result_};
}

void Session::checkpoint() {
  if (half_done_ || recurrent_.empty() || position_ == 0 || (!checkpoints_.empty() && checkpoints_.back().position == position_)) return;
  Checkpoint c{.position = position_};
  for (const auto& name : recurrent_) c.states.push_back(storage_->save(placement_.of(name)));
  if (checkpoints_.size() == kCheckpoints) checkpoints_.erase(checkpoints_.begin());
  checkpoints_.push_back(std::move(c));
}

int64_t Session::rewind(int64_t position) {
  if (position >= position_ && !half_done_) return position_;
  while (!checkpoints_.empty() && checkpoints_.back().position > position) checkpoints_.pop_back();
  if (recurrent_.empty()) return position_ = std::min(position, position_);
  // Position 0 needs no copy: the first token of all starts from zeros.
  position_ = checkpoints_.empty() ? 0 : checkpoints_.back().position;
  half_done_ = false;
  for (size_t i = 0; position_ > 0 && i < recurrent_.size(); ++i) storage_->restore(placement_.of(recurrent_[i]), checkpoints_.back().states[i]);
  return position_;
}

int64_t Session::checkpoint_bytes() const {
  int64_t bytes = 0;
  for (const auto& c : checkpoints_)
    for (const auto& state : c.states) bytes += static_cast<int64_t>(state.size());
  return bytes;
}

std::vector<const Device*> Session::devices() const {
  std::vector<const Device*> all;
  for (const auto& d : devices_) all.push_back(d.get());
  return all;
}

void Session::check_host_memory() const {
  int64_t memory = 0;  // of all devices that are in it, as emulated and pretended ones are. Host weights are the file's pages.
  std::set<DeviceId> elsewhere;
  for (const auto& d : devices_)
    if (!d->in_host_memory()) elsewhere.insert(d->id());
  for (const auto& [id, bytes] : reserved_)
    if (!elsewhere.contains(id)) memory += bytes;
  for (const auto& home : placement_.homes) {
    if (elsewhere.contains(home.device)) continue;
    if (home.kind == Kind::state || home.device != kHost || home.is_prepared() || weight_bytes_->is_assembled(home.name))
      memory += device_aligned(home.bytes());
  }
  const auto available = available_memory();
  if (!available || memory <= *available) return;
  const int64_t per_position = [&] {
    int64_t bytes = 0;
    for (const auto& home : placement_.homes)
      if (home.kind == Kind::state && std::find(recurrent_.begin(), recurrent_.end(), home.name) == recurrent_.end()) bytes += home.desc.bytes();
    return std::max<int64_t>(1, bytes / std::max<int64_t>(1, context_));
  }();
  const int64_t longest = std::max<int64_t>(0, context_ - (memory - *available + per_position - 1) / per_position);
  throw Error(
      ErrorKind::memory, fmt::format("a context of {} needs {} of memory, {} are free", context_, human_bytes(memory), human_bytes(*available)),
      kHost,
      longest > 0 ? fmt::format("use -c {} or less, or a smaller -ub", longest) : "use a smaller -ub, or place less on devices that are not real");
}

const Session::Planned& Session::planned(int64_t tokens, int64_t outputs) {
  const Key key{tokens, outputs};
  const auto known = plans_.find(key);
  if (known != plans_.end()) return known->second;
  const Graph unfused = model_->graph(graph_options(tokens, outputs));
  const PlanShape shape{.tokens = tokens, .outputs = outputs, .context = context_, .result = result_};
  const PlanFile::Section* section = nullptr;
  if (plan_file_)
    for (const auto& s : plan_file_->sections)
      if (s.shape == shape) section = &s;
  const auto graph = std::make_shared<const Graph>(fuse(unfused, options_.policy, [&](const Candidate& c) {
    return section ? section->runs(c.node.name) : fits(c, registry_, options_.policy, placement_);
  }));
  std::shared_ptr<const Plan> plan;
  if (section) plan = std::make_shared<const Plan>(plan_from_section(*plan_file_, *section, *graph, registry_, options_.policy));
  if (!plan) plan = std::make_shared<const Plan>(make_plan(*graph, placement_, shape, registry_, options_.policy));
  return plans_.emplace(key, Planned{std::move(graph), std::move(plan)}).first->second;
}

Program& Session::program(int64_t tokens, int64_t outputs) {
  const Key key{tokens, outputs};
  const auto known = programs_.find(key);
  if (known != programs_.end()) return known->second;
  const Planned& p = planned(tokens, outputs);
  const std::map<std::string, std::byte*> inputs{{std::string(inputs::kTokens), reinterpret_cast<std::byte*>(tokens_.data())},
                                                 {std::string(inputs::kPositions), reinterpret_cast<std::byte*>(positions_.data())},
                                                 {std::string(inputs::kOutputRows), reinterpret_cast<std::byte*>(output_rows_.data())}};
  return programs_.emplace(key, Program(p.graph, p.plan, registry_, *storage_, inputs)).first->second;
}

int64_t Session::reserved_arena(const DeviceId& id) const {
  const auto it = reserved_.find(id);
  return it == reserved_.end() ? 0 : it->second;
}

bool Session::fits_reserved(const Plan& plan) const {
  return std::all_of(plan.memory.begin(), plan.memory.end(), [&](const auto& m) { return m.second.arena <= reserved_arena(m.first); });
}

void Session::pass(std::span<const int32_t> tokens, int64_t outputs, const std::function<void(int64_t, const TensorView&)>& take) {
  const auto n = static_cast<int64_t>(tokens.size());
  KERF_CHECK(n > 0 && outputs >= 0 && outputs <= n, "forward() wants at least one token, and no more outputs than tokens");
  KERF_CHECK(!half_done_, "a pass was interrupted and its recurrent states are half done: rewind() first");
  if (position_ + n > context_)
    throw Error(
        ErrorKind::memory,
        fmt::format("{} tokens do not fit into the context of {}{}", n, context_, position_ ? fmt::format(" after {} positions", position_) : ""),
        "context", fmt::format("use -c {} or more", position_ + n));
  for (size_t i = 0; i < tokens.size(); ++i)
    if (tokens[i] < 0 || tokens[i] >= n_vocab())
      throw Error(ErrorKind::usage, fmt::format("token {} is {}, the vocabulary has 0..{}", i, tokens[i], n_vocab() - 1), "tokens");
  const int64_t first_output = n - outputs;
  for (int64_t done = 0; done < n;) {
    int64_t T = std::min(n - done, options_.micro_batch);
    const auto wanted = [&](int64_t t) { return std::clamp<int64_t>(done + t - std::max(first_output, done), 0, options_.max_outputs); };
    // A last, partial micro-batch may lay out its arena worse than the full one; memory is what was promised, so it is
    // cut in half then (one token always fits).
    while (T > 1 && (wanted(T) < done + T - std::max(first_output, done) || !fits_reserved(*planned(T, std::max<int64_t>(1, wanted(T))).plan)))
      T = (T + 1) / 2;
    const int64_t rows = wanted(T);
    const int64_t planned_rows = std::max<int64_t>(1, rows);
    std::copy_n(tokens.begin() + done, T, tokens_.begin());
    std::iota(positions_.begin(), positions_.begin() + T, static_cast<int32_t>(position_));
    std::iota(output_rows_.begin(), output_rows_.begin() + planned_rows, static_cast<int32_t>(T - planned_rows));
    Program& p = program(T, planned_rows);
    half_done_ = !recurrent_.empty();
    p.run(pool_, counters_, observers_, after_step_);
    half_done_ = false;
    position_ += T;
    done += T;
    if (rows > 0) take(done - rows - first_output, p.outputs()[0]);
  }
}

void Session::forward(std::span<const int32_t> tokens, int64_t outputs, const std::function<void(int64_t, std::span<const float>)>& take) {
  KERF_CHECK(result_ == PassResult::logits, "a session of greedy ids has no logits to give");
  pass(tokens, outputs, [&](int64_t first, const TensorView& rows) { take(first, {rows.as<float>(), static_cast<size_t>(rows.desc.size())}); });
}

int32_t Session::forward_greedy(std::span<const int32_t> tokens) {
  KERF_CHECK(result_ == PassResult::greedy_ids, "a session of logits has no greedy ids to give");
  int32_t id = 0;
  pass(tokens, 1, [&](int64_t, const TensorView& ids) { id = *ids.as<int32_t>(); });
  if (id < 0) throw Error(ErrorKind::runtime, fmt::format("the logit of token {} is nan or infinite", ~id), fmt::format("position {}", position_));
  return id;
}

std::vector<float> Session::forward(std::span<const int32_t> tokens) {
  std::vector<float> logits;
  forward(tokens, 1, [&](int64_t, std::span<const float> rows) { logits.assign(rows.begin(), rows.end()); });
  return logits;
}

}  // namespace kerf
