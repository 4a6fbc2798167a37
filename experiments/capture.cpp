#include "experiments/capture.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cctype>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <tuple>

#include "core/error.h"
#include "core/placement.h"
#include "core/text.h"
#include "experiments/session.h"
#include "quant/formats.h"

namespace kerf {
namespace {

/// Length of the longest text that both have in them.
size_t common_length(const std::string& a, const std::string& b) {
  std::vector<size_t> row(b.size() + 1, 0);
  size_t longest = 0;
  for (const char c : a) {
    size_t diagonal = 0;
    for (size_t j = 0; j < b.size(); ++j) {
      const size_t above = row[j + 1];
      row[j + 1] = c == b[j] ? diagonal + 1 : 0;
      longest = std::max(longest, row[j + 1]);
      diagonal = above;
    }
  }
  return longest;
}

void decode(const TensorDesc& d, const std::byte* data, int64_t row, float* out) {
  if (d.dtype == DType::i32) {  // ids of experts
    const auto* ids = reinterpret_cast<const int32_t*>(data) + row * d.cols();
    std::copy(ids, ids + d.cols(), out);
    return;
  }
  quant::decode_row_of(d, data, row, out);
}

/// The computed values that the steps of a plan write, by name.
std::vector<std::string> written(const Plan& plan, const Graph& graph) {
  std::vector<std::string> names;
  for (const auto& step : plan.steps)
    if (const auto* run = std::get_if<RunStep>(&step))
      for (const size_t out : run->out)
        if (const ValueInfo& v = graph[plan.places[out].value]; !v.alias_of) names.push_back(v.name);
  return names;
}

constexpr int64_t kNpyHeader = 128;  // bytes: room for any shape, as how many rows there will be is known in the end
constexpr int64_t kOtherFiles = 32;  // that may be open beside the captured ones

}  // namespace

std::vector<std::string> close_names(const std::string& pattern, const std::vector<std::string>& names) {
  std::string plain;  // of a regular expression, what may stand in a name
  for (const char c : pattern)
    if (std::isalnum(static_cast<unsigned char>(c)) || c == '_' || c == '.') plain += c;
  std::vector<std::pair<size_t, std::string>> by_likeness;
  for (const auto& name : names) by_likeness.emplace_back(common_length(plain, name), name);
  std::stable_sort(by_likeness.begin(), by_likeness.end(), [](const auto& a, const auto& b) { return a.first > b.first; });
  std::vector<std::string> best;
  for (const auto& [length, name] : by_likeness)
    if (best.size() < 5 && std::find(best.begin(), best.end(), name) == best.end()) best.push_back(name);
  return best;
}

Capture::Capture(Session& session, const std::string& pattern, std::string folder, const Io& io)
    : session_(session),
      pattern_(pattern),
      folder_(std::move(folder)),
      command_(io.command),
      log_(io.log),
      matches_(name_matcher(pattern, "--capture")) {
  std::vector<std::string> names;
  for (const auto& [tokens, outputs] : {std::pair{session.micro_batch(), session.max_outputs()}, std::pair{int64_t{1}, int64_t{1}}}) {
    const auto& planned = session.planned(tokens, outputs);
    for (auto& name : written(*planned.plan, *planned.graph)) names.push_back(std::move(name));
  }
  for (const auto& home : session.placement().homes)
    if (home.kind == Kind::state) {
      names.push_back(home.name);
      if (matches_(home.name)) states_.push_back(home.name);
    }
  std::vector<std::string> inside;  // of fused steps
  const Graph whole = session.model().graph(
      {.tokens = 1, .outputs = 1, .context = session.context(), .k = session.k_type(), .v = session.v_type(), .result = session.result()});
  for (const Node& node : whole.nodes())
    for (const Value v : node.out)
      if (const auto& [name, alias] = std::tie(whole[v].name, whole[v].alias_of);
          !alias && matches_(name) && std::find(names.begin(), names.end(), name) == names.end())
        inside.push_back(name);
  if (std::none_of(names.begin(), names.end(), matches_)) {
    if (!inside.empty())
      throw Error(ErrorKind::usage, fmt::format("{} is computed inside a fused step, which does not write it", inside.front()), "--capture",
                  "--fuse none shows values between fused ops");
    throw Error(ErrorKind::usage, fmt::format("no value of the plan has a name that matches \"{}\"", printable(pattern)), "--capture",
                fmt::format("there are {}; kerf plan lists all, and with --fuse none also those between fused ops",
                            fmt::join(close_names(pattern, names), ", ")));
  }
  if (!inside.empty())
    io.log->warn("warning: --capture: {} more values that match are computed inside fused steps ({}, ...); --fuse none shows them", inside.size(),
                 inside.front());
  std::error_code failed;
  std::filesystem::create_directories(folder_, failed);
  if (failed) throw Error(ErrorKind::runtime, fmt::format("cannot create the folder: {}", failed.message()), printable(folder_));
  session.observe(this);
}

std::vector<Capture::Rows> Capture::meanings(const Graph& graph) {
  std::vector<Rows> of(graph.values().size(), Rows::constant);
  for (uint32_t id = 0; id < of.size(); ++id) {
    const ValueInfo& v = graph.values()[id];
    if (v.kind == Kind::input) of[id] = v.name == inputs::kOutputRows ? Rows::outputs : Rows::tokens;
  }
  for (const Node& node : graph.nodes()) {
    Rows rows = Rows::constant;
    for (const Value v : node.in) rows = std::max(rows, of[v.id]);
    for (const Value v : node.out) of[v.id] = rows;
  }
  return of;
}

Capture::Targets Capture::targets_of(const Plan& plan, const Graph& graph) {
  Targets targets;
  const std::vector<Rows> rows = meanings(graph);
  for (size_t s = 0; s < plan.steps.size(); ++s) {
    const auto* run = std::get_if<RunStep>(&plan.steps[s]);
    for (size_t o = 0; run && o < run->out.size(); ++o) {
      const Place& place = plan.places[run->out[o]];
      const ValueInfo& v = graph[place.value];
      if (v.alias_of || !matches_(v.name)) continue;
      Series& series = series_[v.name];
      series.formats.insert(std::string(name_of(place.desc.dtype)));
      series.width = place.desc.cols();
      series.meaning = rows[place.value.id];
      const int64_t positions = series.meaning == Rows::tokens ? plan.shape.tokens : series.meaning == Rows::outputs ? plan.shape.outputs : 1;
      series.per_position = place.desc.rows() / positions;
      targets[s].push_back({o, &series});
    }
  }
  const auto files = static_cast<int64_t>(series_.size()), allowed = static_cast<int64_t>(sysconf(_SC_OPEN_MAX)) - kOtherFiles;
  if (files > allowed)
    throw Error(ErrorKind::usage, fmt::format("{} values match, {} files may be open at once", files, allowed), "--capture",
                "match fewer, or raise the limit: ulimit -n");
  for (auto& [name, series] : series_)
    if (!series.file) series.file = std::make_unique<OutputFile>(path_of(name));
  return targets;
}

void Capture::after(const StepEvent& event) {
  if (&event.plan != plan_ || event.index <= last_step_) {
    const auto known = plans_.find(&event.plan);
    targets_ = known != plans_.end() ? &known->second : &plans_.emplace(&event.plan, targets_of(event.plan, event.graph)).first->second;
    plan_ = &event.plan;
    passes_.push_back({session_.position(), event.plan.shape.tokens, event.plan.shape.outputs});
  }
  last_step_ = event.index;
  const auto here = targets_->find(event.index);
  if (here == targets_->end()) return;
  for (const Target& t : here->second) {
    const TensorView& view = event.outs[t.output];
    Series& series = *t.series;
    bytes_.resize(static_cast<size_t>(view.desc.bytes()));
    event.device.download(bytes_.data(), view.data, view.desc.bytes());
    values_.resize(static_cast<size_t>(view.desc.size()));
    for (int64_t r = 0; r < view.desc.rows(); ++r) decode(view.desc, bytes_.data(), r, values_.data() + r * view.desc.cols());
    if (series.meaning == Rows::constant) series.rows = 0;  // the same in every pass
    series.file->write_at(kNpyHeader + series.rows * series.width * static_cast<int64_t>(sizeof(float)), std::as_bytes(std::span(values_)));
    series.rows += view.desc.rows();
    series.passes.push_back(passes_.size() - 1);
  }
}

void Capture::commit() {
  nlohmann::json values = nlohmann::json::array(), passes = nlohmann::json::array();
  std::vector<std::string> partial;
  for (auto& [name, series] : series_) {
    const std::string header = npy_header({series.rows, series.width}, kNpyHeader);
    series.file->write_at(0, std::as_bytes(std::span(header)));
    series.file->commit();
    nlohmann::json value{{"name", name}, {"file", name + ".npy"}, {"shape", {series.rows, series.width}}, {"written_as", series.formats}};
    value["rows_are"] = series.meaning == Rows::tokens ? "tokens" : series.meaning == Rows::outputs ? "outputs" : "constant";
    if (series.meaning != Rows::constant) value["rows_per_position"] = series.per_position;
    if (series.passes.size() != passes_.size()) {
      value["passes"] = series.passes;
      partial.push_back(name);
    }
    values.push_back(std::move(value));
  }
  if (!partial.empty())
    log_->warn(
        "warning: --capture: in some passes {} of the values were computed inside fused steps ({}, ...): capture.json says which passes they have; "
        "--fuse none writes them in all",
        partial.size(), partial.front());
  for (const auto& name : states_) values.push_back(write_state(name));
  for (const Pass& p : passes_) passes.push_back({{"position", p.position}, {"tokens", p.tokens}, {"outputs", p.outputs}});
  write_file(
      folder_ + "/capture.json",
      nlohmann::json{
          {"schema", 1}, {"command", command_}, {"model", session_.file().path()}, {"pattern", pattern_}, {"values", values}, {"passes", passes}}
              .dump(2, ' ', false, nlohmann::json::error_handler_t::replace) +
          "\n");
}

nlohmann::json Capture::write_state(const std::string& name) const {
  const Home& home = session_.placement().of(name);
  const auto& recurrent = session_.recurrent_states();
  const bool is_cache = std::find(recurrent.begin(), recurrent.end(), name) == recurrent.end();
  const TensorDesc& d = home.desc;
  const std::vector<std::byte> bytes = session_.state(name);
  // Rows of a cache that no token has written yet hold nothing.
  const int64_t rows = is_cache ? session_.position() : d.shape[2];
  std::vector<float> all(static_cast<size_t>(d.shape[0] * d.shape[1] * rows * d.cols()));
  float* out = all.data();
  for (int64_t block = 0; block < d.shape[0] * d.shape[1]; ++block)
    for (int64_t r = 0; r < rows; ++r, out += d.cols()) decode(d, bytes.data(), block * d.shape[2] + r, out);
  std::vector<int64_t> shape{rows, d.cols()};
  if (d.shape[1] > 1 || is_cache) shape.insert(shape.begin(), d.shape[1]);
  write_file(path_of(name), npy(shape, all.data()));
  return {
      {"name", name}, {"file", name + ".npy"}, {"shape", shape}, {"written_as", {name_of(d.dtype)}}, {"rows_are", is_cache ? "positions" : "state"}};
}

}  // namespace kerf
