// kerf inspect: what is in a file.
#include <fmt/format.h>

#include <cmath>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "core/text.h"
#include "experiments/commands.h"
#include "loaders/models/model.h"
#include "loaders/weights.h"

namespace kerf {
namespace {

nlohmann::json to_json(const gguf::Entry& entry) {
  const auto plain = [](const auto& value) -> nlohmann::json {
    using T = std::decay_t<decltype(value)>;
    if constexpr (std::is_same_v<T, std::string_view>)
      return valid_utf8(value);
    else if constexpr (std::is_same_v<T, double>)
      return std::isfinite(value) ? nlohmann::json(value) : nlohmann::json(fmt::format("{}", value));
    else
      return value;
  };
  if (const auto* scalar = std::get_if<gguf::Scalar>(&entry.value)) return std::visit(plain, *scalar);
  return std::visit(
      [&](const auto& items) {
        nlohmann::json list = nlohmann::json::array();
        for (size_t i = 0; i < items.size(); ++i) {
          const typename std::decay_t<decltype(items)>::value_type item = items[i];
          list.push_back(plain(item));
        }
        return list;
      },
      std::get<gguf::Array>(entry.value));
}

std::string short_text(const gguf::Entry& entry) {
  const auto j = to_json(entry);
  if (!j.is_array()) return j.is_string() ? printable(j.get_ref<const std::string&>(), 70) : j.dump();
  std::string text = fmt::format("{}[{}]", name_of(entry.element), j.size());
  for (size_t i = 0; i < std::min<size_t>(j.size(), 4); ++i)
    text += " " + printable(j[i].dump(-1, ' ', false, nlohmann::json::error_handler_t::replace), 20);
  return j.size() > 4 ? text + " ..." : text;
}

/// What kerf makes of the file: a model, or the reason why it is none.
struct Reading {
  std::unique_ptr<Model> model{};
  std::string why_not{};
};
Reading read_model(const gguf::File& file) {
  try {
    std::vector<std::string> warnings;
    return {.model = load_model(file, warnings)};
  } catch (const FileError& e) {
    return {.why_not = e.what()};
  }
}

std::vector<int64_t> recurrent_layers(const HParams& h) {
  std::vector<int64_t> layers;
  for (size_t l = 0; l < h.recurrent.size(); ++l)
    if (h.recurrent[l]) layers.push_back(static_cast<int64_t>(l));
  return layers;
}

nlohmann::json to_json(const Reading& reading) {
  if (!reading.model) return {{"error", valid_utf8(reading.why_not)}};
  const HParams& h = reading.model->hparams();
  nlohmann::json j{{"architecture", h.architecture},
                   {"layers", h.n_layer},
                   {"nextn_blocks", h.n_nextn},
                   {"width", h.n_embd},
                   {"heads", h.n_head},
                   {"heads_kv", h.n_head_kv},
                   {"head_size", h.head_dim},
                   {"vocabulary", h.n_vocab},
                   {"context", h.n_ctx_train},
                   {"repairs", h.repairs},
                   {"experts", nullptr},
                   {"recurrent_layers", recurrent_layers(h)}};
  const ExpertParams& x = h.experts;
  if (x.count > 0) j["experts"] = {{"count", x.count}, {"used", x.used}, {"width", x.n_ff}, {"shared_width", x.n_ff_shared}};
  return j;
}

std::string to_text(const Reading& reading) {
  constexpr std::string_view line = "{:<11}{}\n";
  if (!reading.model) return fmt::format(line, "no model", reading.why_not);
  const HParams& h = reading.model->hparams();
  std::string text = fmt::format(line, "model",
                                 fmt::format("{}, {} layers of width {}, {} heads of {} over {}, {} tokens, context {}", h.architecture, h.n_layer,
                                             h.n_embd, h.n_head, h.head_dim, h.n_head_kv, h.n_vocab, h.n_ctx_train));
  const ExpertParams& x = h.experts;
  if (x.count > 0) {
    const std::string shared = x.n_ff_shared > 0 ? fmt::format(", and a shared one of width {}", x.n_ff_shared) : "";
    text += fmt::format(line, "experts", fmt::format("{} of width {}, {} for each token{}", x.count, x.n_ff, x.used, shared));
  }
  if (const auto layers = recurrent_layers(h); !layers.empty())
    text += fmt::format(line, "recurrent",
                        fmt::format("{} of {} layers: {} heads of {} over {}, convolution of {} (layers {})", layers.size(), h.n_layer,
                                    h.delta.time_step_rank, h.delta.state_size, h.delta.group_count, h.delta.conv_kernel, fmt::join(layers, " ")));
  if (h.n_nextn > 0) text += fmt::format(line, "nextn", fmt::format("{} {}, kept and not run", h.n_nextn, h.n_nextn == 1 ? "block" : "blocks"));
  for (const auto& repair : h.repairs) text += fmt::format(line, "repaired", repair);
  return text;
}

struct TypeTotal {
  int64_t tensors = 0, values = 0, bytes = 0;
};

}  // namespace

int inspect_command(const InspectArgs& args, const Io& io) {
  if (!args.key.empty() && (args.tensors || args.check))
    throw Error(ErrorKind::usage, "--metadata prints one value", "--tensors, --check", "leave them out");
  const gguf::File file = gguf::File::open(args.model, {.strict = args.strict});
  for (const auto& w : file.warnings()) io.log->warn("warning: {}", w);
  if (!args.key.empty()) {
    const auto* entry = file.find(args.key);
    if (!entry) throw FileError({.path = file.path(), .field = args.key, .found = "no such key"});
    if (io.json)
      io.out_json(nlohmann::json{{"schema", 1}, {"key", args.key}, {"type", gguf::name_of(entry->type)}, {"value", to_json(*entry)}});
    else {
      const auto value = to_json(*entry);
      io.out((value.is_string() ? value.get<std::string>() : value.dump()) + "\n");
    }
    return 0;
  }
  std::vector<std::string> problems;
  if (args.check)
    for (const auto& bad : scan_values(file)) problems.emplace_back(bad.what());

  const Reading reading = read_model(file);
  std::map<std::string, TypeTotal> types;
  TypeTotal all;
  for (const auto& t : file.tensors())
    for (TypeTotal* total : {&types[std::string(name_of(t.desc.dtype))], &all}) {
      ++total->tensors;
      total->values += t.desc.size();
      total->bytes += t.desc.bytes();
    }
  const double bpw = all.values > 0 ? 8.0 * static_cast<double>(all.bytes) / static_cast<double>(all.values) : 0;
  if (io.json) {
    nlohmann::json result{
        {"schema", 1},          {"path", file.path()}, {"version", file.version()}, {"splits", file.splits()}, {"alignment", file.alignment()},
        {"bytes", file.bytes()}};
    result["metadata"] = nlohmann::json::object();
    for (const auto& entry : file.metadata())
      result["metadata"][valid_utf8(entry.key)] = {{"type", gguf::name_of(entry.type)}, {"value", to_json(entry)}};
    result["tensors"] = nlohmann::json::array();
    for (const auto& t : file.tensors())
      result["tensors"].push_back({{"name", valid_utf8(t.name)},
                                   {"dtype", name_of(t.desc.dtype)},
                                   {"shape", t.desc.shape},
                                   {"bytes", t.desc.bytes()},
                                   {"split", t.split},
                                   {"offset", t.offset}});
    for (const auto& [name, total] : types) result["types"][name] = {{"tensors", total.tensors}, {"values", total.values}, {"bytes", total.bytes}};
    result["model"] = to_json(reading);
    result["parameters"] = all.values;
    result["bits_per_weight"] = bpw;
    result["warnings"] = file.warnings();
    if (args.check) result["not_finite"] = problems;
    io.out_json(result);
  } else {
    std::string text = fmt::format("{}\nGGUF version {}, {} {}, {} tensors, {} parameters, {} ({:.3f} bits per weight)\n", printable(file.path()),
                                   file.version(), file.splits(), file.splits() == 1 ? "file" : "files", all.tensors, all.values,
                                   human_bytes(static_cast<int64_t>(file.bytes())), bpw);
    text += to_text(reading) + "\n";
    for (const auto& entry : file.metadata()) text += fmt::format("{:<48} {:<8} {}\n", entry.key, gguf::name_of(entry.type), short_text(entry));
    text += fmt::format("\n{:<10} {:>8} {:>14} {:>14}\n", "type", "tensors", "values", "bytes");
    for (const auto& [name, total] : types) text += fmt::format("{:<10} {:>8} {:>14} {:>14}\n", name, total.tensors, total.values, total.bytes);
    if (args.tensors) {
      text += fmt::format("\n{:<40} {:<28} {:>12} {:>14}\n", "tensor", "type and shape", "bytes", "offset");
      for (const auto& t : file.tensors())
        text += fmt::format("{:<40} {:<28} {:>12} {:>14}\n", printable(t.name), to_text(t.desc), t.desc.bytes(), t.offset);
    }
    for (const auto& p : problems) text += "not finite: " + p + "\n";
    io.out(text);
  }
  return problems.empty() ? 0 : static_cast<int>(ErrorKind::check);
}

}  // namespace kerf
