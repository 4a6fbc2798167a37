#include "experiments/routing.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <iterator>
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "experiments/session.h"

namespace kerf {
namespace {

constexpr size_t kBuffer = 1 << 20;  // bytes of lines that are written at once

/// 3 of "blk.3.experts.router".
int64_t layer_of(const std::string& node) {
  int64_t layer = -1;
  constexpr std::string_view kPrefix = "blk.";
  const size_t at = node.find(kPrefix);
  if (at != std::string::npos) std::from_chars(node.data() + at + kPrefix.size(), node.data() + node.size(), layer);
  KERF_CHECK(layer >= 0, "a router is in no layer: " + node);
  return layer;
}

}  // namespace

bool has_experts(const Session& session) { return session.model().hparams().experts.count > 0; }

Routing::Routing(Session& session, const std::string& dump, const std::string& command) : session_(session) {
  const Graph& graph = *session.planned(1, 1).graph;
  for (const Node& node : graph.nodes())
    if (std::holds_alternative<Router>(node.op)) {
      Layer& layer = layers_[graph[node.out[0]].name];
      layer.number = layer_of(node.name);
      layer.touched.resize(static_cast<size_t>(graph[node.in[0]].desc.cols()));
    }
  for (const Node& node : graph.nodes())
    if (const auto e = expert_inputs(node.op)) {
      Layer& layer = layers_.at(graph[node.in[e->ids]].name);
      for (size_t i = e->first; i < e->first + e->count; ++i)
        layer.expert_bytes += graph[node.in[i]].desc.bytes() / static_cast<int64_t>(layer.touched.size());
    }
  KERF_CHECK(!layers_.empty(), "a model without experts has no routing");
  if (!dump.empty()) {
    file_ = std::make_unique<OutputFile>(dump);
    const ExpertParams& e = session.model().hparams().experts;
    lines_ = one_line({{"schema", 1},
                       {"command", command},
                       {"model", session.file().path()},
                       {"layers", layers_.size()},
                       {"experts", e.count},
                       {"experts_used", e.used}}) +
             "\n";
  }
  session.observe(this);
}

void Routing::after(const StepEvent& event) {
  const auto* run = std::get_if<RunStep>(&event.plan.steps[event.index]);
  if (!run || !std::holds_alternative<Router>(event.graph.nodes()[run->node].op)) return;
  if (pass_ < 0 || event.index <= last_step_ || &event.plan != last_plan_) ++pass_;  // every pass runs its routers in order
  last_step_ = event.index;
  last_plan_ = &event.plan;
  const TensorView &ids = event.outs[0], &weights = event.outs[1];
  ids_.resize(static_cast<size_t>(ids.desc.size()));
  event.device.download(ids_.data(), ids.data, ids.desc.bytes());
  Layer& layer = layers_.at(event.graph[event.plan.places[run->out[0]].value].name);
  for (const int32_t id : ids_) layer.touched[static_cast<size_t>(id)] = true;
  if (!file_) return;
  weights_.resize(ids_.size());
  event.device.download(weights_.data(), weights.data, weights.desc.bytes());
  const int64_t rows = ids.desc.rows();
  // Behind select_outputs, a layer has only the last rows of the micro-batch.
  write(layer, session_.position() + event.plan.shape.tokens - rows, rows, ids.desc.cols());
}

void Routing::write(const Layer& layer, int64_t first_position, int64_t rows, int64_t used) {
  const auto out = std::back_inserter(lines_);
  for (int64_t r = 0; r < rows; ++r) {
    const auto first = static_cast<size_t>(r * used), end = first + static_cast<size_t>(used);
    fmt::format_to(out, R"({{"pass":{},"layer":{},"position":{},"experts":[)", pass_, layer.number, first_position + r);
    for (size_t i = first; i < end; ++i) fmt::format_to(out, "{}{}", i > first ? "," : "", ids_[i]);
    lines_ += R"(],"weights":[)";
    for (size_t i = first; i < end; ++i) {
      if (i > first) lines_ += ',';
      if (std::isfinite(weights_[i]))
        fmt::format_to(out, "{}", weights_[i]);
      else
        lines_ += "null";  // JSON has no word for it
    }
    lines_ += "]}\n";
    if (lines_.size() >= kBuffer) flush();
  }
}

void Routing::flush() {
  file_->write_at(written_, std::as_bytes(std::span(lines_)));
  written_ += static_cast<int64_t>(lines_.size());
  lines_.clear();
}

void Routing::commit() {
  if (!file_) return;
  flush();
  file_->commit();
}

Routing::Touched Routing::touched() const {
  Touched t;
  for (const auto& [name, layer] : layers_) {
    const auto n = static_cast<int64_t>(std::count(layer.touched.begin(), layer.touched.end(), true)),
               all = static_cast<int64_t>(layer.touched.size());
    t.experts += n;
    t.all += all;
    t.bytes += n * layer.expert_bytes;
    t.all_bytes += all * layer.expert_bytes;
  }
  return t;
}

}  // namespace kerf
