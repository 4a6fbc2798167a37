#include "experiments/roof.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "core/text.h"
#include "experiments/io.h"

namespace kerf {
namespace {

using nlohmann::json;

/// Reads one object of the file; every complaint names the field from the top.
class Fields {
 public:
  Fields(const json& object, std::string path, std::string name) : object_(object), path_(std::move(path)), name_(std::move(name)) {
    if (!object.is_object()) wrong(name_, "an object", object.type_name());
  }
  const json& need(const char* key) const {
    const auto it = object_.find(key);
    if (it == object_.end()) wrong(full(key), "a value", "nothing");
    return *it;
  }
  Fields object(const char* key) const { return {need(key), path_, full(key)}; }
  std::string text(const char* key) const {
    const json& v = need(key);
    if (!v.is_string()) wrong(full(key), "a string", v.type_name());
    return v.get<std::string>();
  }
  int64_t count(const char* key) const {
    const json& v = need(key);
    if (!v.is_number_integer() || v.get<int64_t>() < 0) wrong(full(key), "an integer, 0 or more", v.dump());
    return v.get<int64_t>();
  }
  int small(const char* key) const {
    const int64_t v = count(key);
    if (v > 1 << 20) wrong(full(key), "at most 2^20", fmt::format("{}", v));
    return static_cast<int>(v);
  }
  double positive(const char* key) const { return positive(need(key), full(key)); }
  double positive_or_zero(const char* key) const { return object_.contains(key) ? positive(key) : 0; }
  double positive(const json& v, const std::string& field) const {
    if (!v.is_number() || !(v.get<double>() > 0)) wrong(field, "a number above 0", v.dump());
    return v.get<double>();
  }
  double share(const char* key) const {
    const json& v = need(key);
    if (!v.is_number() || !(v.get<double>() >= 0 && v.get<double>() <= 1)) wrong(full(key), "a number from 0 to 1", v.dump());
    return v.get<double>();
  }
  const json& list(const char* key) const {
    const json& v = need(key);
    if (!v.is_array()) wrong(full(key), "an array", v.type_name());
    return v;
  }
  std::string full(const std::string& key) const { return name_.empty() ? key : name_ + "." + key; }
  const json& value() const { return object_; }
  const std::string& path() const { return path_; }
  [[noreturn]] void wrong(const std::string& field, const std::string& expected, const std::string& found) const {
    throw FileError({.path = path_, .field = field, .expected = expected, .found = printable(found), .hint = "kerf roof --save writes it anew"});
  }

 private:
  const json& object_;
  std::string path_, name_;
};

json machine_json(const Machine& m) {
  return {{"cpu", m.cpu},           {"family", m.family},    {"model", m.model},   {"stepping", m.stepping}, {"cores", m.cores},
          {"features", m.features}, {"isa", name_of(m.isa)}, {"l1d_bytes", m.l1d}, {"l2_bytes", m.l2},       {"l3_bytes", m.l3}};
}

Machine read_machine(const Fields& f) {
  Machine m{.cpu = f.text("cpu"),
            .family = f.small("family"),
            .model = f.small("model"),
            .stepping = f.small("stepping"),
            .cores = f.small("cores"),
            .l1d = f.count("l1d_bytes"),
            .l2 = f.count("l2_bytes"),
            .l3 = f.count("l3_bytes")};
  for (const json& name : f.list("features")) {
    if (!name.is_string()) f.wrong(f.full("features"), "strings", name.dump());
    m.features.push_back(name.get<std::string>());
  }
  const auto isa = isa_named(f.text("isa"));
  if (!isa) f.wrong(f.full("isa"), "the name of a level", f.text("isa"));
  m.isa = *isa;
  return m;
}

/// Figures that are 0 were not measured and are left out.
json figures_json(const RoofFigures& f) {
  json j{{"threads", f.threads}};
  for (const auto& [name, value] : std::initializer_list<std::pair<const char*, double>>{{"read_gb_per_s", f.read},
                                                                                         {"l1_gb_per_s", f.l1},
                                                                                         {"l2_gb_per_s", f.l2},
                                                                                         {"l3_gb_per_s", f.l3},
                                                                                         {"amx_bf16_from_l1_gflop_per_s", f.amx_l1},
                                                                                         {"amx_bf16_from_l2_gflop_per_s", f.amx_l2},
                                                                                         {"amx_bf16_from_dram_gflop_per_s", f.amx_dram},
                                                                                         {"gexp_per_s", f.exps}})
    if (value > 0) j[name] = value;
  j["reads"] = json::array();
  for (const auto& r : f.reads)
    j["reads"].push_back({{"pages", r.pages},
                          {"huge_share", r.huge_share},
                          {"streams", r.streams},
                          {"prefetch_bytes", r.ahead},
                          {"gb_per_s", r.median},
                          {"min_gb_per_s", r.min},
                          {"max_gb_per_s", r.max}});
  j["units_gflop_per_s"] = json::object();
  for (const auto& [name, value] : f.units) j["units_gflop_per_s"][name] = value;
  return j;
}

RoofFigures read_figures(const Fields& f) {
  RoofFigures figures{.threads = f.small("threads"),
                      .read = f.positive_or_zero("read_gb_per_s"),
                      .l1 = f.positive_or_zero("l1_gb_per_s"),
                      .l2 = f.positive_or_zero("l2_gb_per_s"),
                      .l3 = f.positive_or_zero("l3_gb_per_s"),
                      .amx_l1 = f.positive_or_zero("amx_bf16_from_l1_gflop_per_s"),
                      .amx_l2 = f.positive_or_zero("amx_bf16_from_l2_gflop_per_s"),
                      .amx_dram = f.positive_or_zero("amx_bf16_from_dram_gflop_per_s"),
                      .exps = f.positive_or_zero("gexp_per_s")};
  const Fields units = f.object("units_gflop_per_s");
  for (const auto& [name, value] : units.value().items()) figures.units[name] = units.positive(value, units.full(name));
  for (const json& read : f.list("reads")) {
    const Fields r(read, f.path(), f.full("reads"));
    figures.reads.push_back({.pages = r.text("pages"),
                             .huge_share = r.share("huge_share"),
                             .streams = r.small("streams"),
                             .ahead = r.count("prefetch_bytes"),
                             .median = r.positive("gb_per_s"),
                             .min = r.positive("min_gb_per_s"),
                             .max = r.positive("max_gb_per_s")});
  }
  return figures;
}

}  // namespace

std::pair<std::string_view, double> RoofFigures::peak() const {
  std::pair<std::string_view, double> best{"", 0};
  for (const auto& [name, value] : units)
    if (value > best.second) best = {name, value};
  return best;
}

const RoofFigures* Roof::with_threads(int threads) const {
  const auto it = std::find_if(figures.begin(), figures.end(), [&](const RoofFigures& f) { return f.threads == threads; });
  return it == figures.end() ? nullptr : &*it;
}

json to_json(const Roof& roof) {
  json j{{"schema", Roof::kSchema},
         {"kind", "roof"},
         {"date", roof.date},
         {"machine", machine_json(roof.machine)},
         {"clock_ghz", roof.clock_ghz},
         {"read_buffer_bytes", roof.buffer},
         {"read_buffer_wanted_bytes", roof.buffer_wanted},
         {"figures", json::array()}};
  for (const auto& f : roof.figures) j["figures"].push_back(figures_json(f));
  return j;
}

Roof roof_from_json(std::string_view text, const std::string& path) {
  json document;
  try {
    document = json::parse(text);
  } catch (const json::parse_error& e) {
    throw FileError({.path = path,
                     .offset = e.byte > 0 ? e.byte - 1 : 0,
                     .field = "JSON",
                     .expected = "a document that kerf roof --save wrote",
                     .found = "what is not JSON",
                     .hint = "kerf roof --save writes it anew"});
  }
  const Fields f(document, path, "");
  if (f.text("kind") != "roof") f.wrong("kind", "\"roof\"", f.text("kind"));
  if (f.count("schema") != Roof::kSchema) f.wrong("schema", fmt::format("{}", Roof::kSchema), fmt::format("{}", f.count("schema")));
  Roof roof{.machine = read_machine(f.object("machine")),
            .date = f.text("date"),
            .clock_ghz = f.positive("clock_ghz"),
            .buffer = f.count("read_buffer_bytes"),
            .buffer_wanted = f.count("read_buffer_wanted_bytes")};
  for (const json& figures : f.list("figures")) roof.figures.push_back(read_figures({figures, path, "figures"}));
  if (roof.figures.empty()) f.wrong("figures", "at least one number of threads", "none");
  return roof;
}

std::string default_roof_path() {
  const auto variable = [](const char* name) -> std::filesystem::path {
    const char* value = std::getenv(name);
    return value ? value : "";
  };
  if (const auto cache = variable("KERF_CACHE"); !cache.empty()) return cache / "roof.json";
  if (const auto cache = variable("XDG_CACHE_HOME"); !cache.empty()) return cache / "kerf" / "roof.json";
  if (const auto home = variable("HOME"); !home.empty()) return home / ".cache" / "kerf" / "roof.json";
  throw Error(ErrorKind::runtime, "there is no folder for measured roofs: none of KERF_CACHE, XDG_CACHE_HOME and HOME is set", "", "set KERF_CACHE");
}

std::string no_roof_with(int threads) { return fmt::format("no roof measured with {} threads: run kerf roof --save -t 1,{}", threads, threads); }

std::optional<Roof> find_roof(const std::string& chosen, std::string& missing) {
  constexpr const char* kMissing = "no roof measured: run kerf roof --save";
  std::string path = chosen;
  if (path.empty()) {
    try {
      path = default_roof_path();
    } catch (const Error&) {  // a machine without a home has no cache; that is no reason not to measure
    }
    if (path.empty() || !std::filesystem::exists(path)) {
      missing = kMissing;
      return std::nullopt;
    }
  }
  const std::string text = read_file(path);
  const json peek = json::parse(text, nullptr, false);
  if (peek.is_object() && peek.contains("schema") && peek["schema"].is_number_integer() && peek["schema"] != Roof::kSchema) {
    missing = fmt::format("{} ({} has schema {})", kMissing, printable(path), peek["schema"].dump());
    return std::nullopt;
  }
  Roof roof = roof_from_json(text, path);
  if (roof.machine != identify_machine()) {
    missing = fmt::format("{} ({} is of another machine: {}, {} cores)", kMissing, printable(path), printable(roof.machine.cpu), roof.machine.cores);
    return std::nullopt;
  }
  return roof;
}

}  // namespace kerf
