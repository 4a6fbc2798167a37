// kerf roof: which machine this is and what it can do at most.
#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "backends/backends.h"
#include "core/error.h"
#include "core/text.h"
#include "core/threadpool.h"
#include "experiments/commands.h"
#include "experiments/roof_device.h"
#include "experiments/roof_measure.h"

namespace kerf {
namespace {

std::string threads_text(int n) { return n == 1 ? "1 thread" : fmt::format("{} threads", n); }

/// One line per figure, one column per number of threads; figures that were not measured have no line.
class Table {
 public:
  explicit Table(const Roof& roof) : roof_(roof) {}

  void head(const std::string& title) {
    pending_ = fmt::format("\n{:<40}", title);
    for (const auto& f : roof_.figures) pending_ += fmt::format(" {:>11}", threads_text(f.threads));
    pending_ += '\n';
  }
  template <class Get>
  void row(const std::string& name, const std::string& unit, Get&& get) {
    std::string line = fmt::format("  {:<38}", name);
    bool any = false;
    for (const auto& f : roof_.figures) {
      const double value = get(f);
      any |= value > 0;
      line += value > 0 ? fmt::format(" {:>11.1f}", value) : fmt::format(" {:>11}", "-");
    }
    if (!any) return;
    text_ += pending_ + line + " " + unit + "\n";
    pending_.clear();
  }
  const std::string& text() const { return text_; }

 private:
  const Roof& roof_;
  std::string pending_, text_;
};

std::string machine_text(const Roof& roof) {
  const Machine& m = roof.machine;
  std::string text = fmt::format("machine   {}, family {} model {} stepping {}; {} cores, {:.2f} GHz\n", printable(m.cpu), m.family, m.model,
                                 m.stepping, m.cores, roof.clock_ghz);
  text += fmt::format("caches    {} L1 data and {} L2 of each core, {} L3\n", human_bytes(m.l1d), human_bytes(m.l2), human_bytes(m.l3));
  for (const Isa level : {Isa::base, Isa::avx2, Isa::avx512, Isa::vnni, Isa::amx}) {
    if (level > m.isa) continue;
    text += fmt::format("{:<9} {:<7} {}\n", level == Isa::base ? "runs" : "", name_of(level), fmt::join(extensions_of(level), " "));
  }
  if (roof.buffer > 0)
    text += fmt::format("buffer    {}{}\n", human_bytes(roof.buffer),
                        roof.buffer < roof.buffer_wanted
                            ? fmt::format(", not {}: memory is short, part of it may stay in the cache", human_bytes(roof.buffer_wanted))
                        : roof.buffer < 4 * m.l3 ? ", less than four times L3: part of it may stay in the cache"
                                                 : "");
  return text;
}

std::string roof_text(const Roof& roof) {
  Table table(roof);
  table.head("reading memory");
  const auto& variants = roof.figures.front().reads;
  for (size_t i = 0; i < variants.size(); ++i) {
    const auto& v = variants[i];
    std::string name = fmt::format("{} pages, {} stream{}", v.pages, v.streams, v.streams == 1 ? "" : "s");
    if (v.ahead > 0) name += fmt::format(", {} ahead", human_bytes(v.ahead));
    if (v.pages == "2 MiB" && v.huge_share < 0.99) name += fmt::format(" ({:.0f} % given)", v.huge_share * 100);
    table.row(name, "GB/s", [&](const RoofFigures& f) { return f.reads[i].median; });
  }
  table.row("best", "GB/s", [](const RoofFigures& f) { return f.read; });
  table.head("reading caches");
  table.row("L1", "GB/s", [](const RoofFigures& f) { return f.l1; });
  table.row("L2", "GB/s", [](const RoofFigures& f) { return f.l2; });
  table.row("L3", "GB/s", [](const RoofFigures& f) { return f.l3; });
  table.head("units on registers");
  for (const auto& unit : roof.figures.front().units) {
    const std::string& name = unit.first;
    table.row(std::string(unit_text(name)), "GFLOP/s", [&](const RoofFigures& f) { return f.units.at(name); });
  }
  table.head("AMX bf16, 2 x 2 tiles, operands from");
  table.row("L1", "GFLOP/s", [](const RoofFigures& f) { return f.amx_l1; });
  table.row("L2", "GFLOP/s", [](const RoofFigures& f) { return f.amx_l2; });
  table.row("DRAM", "GFLOP/s", [](const RoofFigures& f) { return f.amx_dram; });
  table.head("softmax");
  table.row("exp", "Gexp/s", [](const RoofFigures& f) { return f.exps; });
  return machine_text(roof) + table.text();
}

/// FNV-1a (Fowler, Noll, Vo): equal layouts have equal sums.
std::string checksum(const std::vector<uint32_t>& words) {
  uint64_t sum = 0xCBF29CE484222325u;
  for (const uint32_t w : words) sum = (sum ^ w) * 0x100000001B3u;
  return fmt::format("{:016x}", sum);
}

int device_roof(const RoofArgs& args, const Io& io) {
  if (args.save) throw Error(ErrorKind::usage, "what is saved is the roof of the host", "--save", "leave out --device");
  const auto device = make_device(args.device, device_kinds());
  const auto bar = io.progress_bar("roof");
  const DeviceRoof roof = measure_device(*device, args.seconds, args.buffer.empty() ? 0 : parse_bytes(args.buffer), [&](int64_t done, int64_t total) {
    bar(done, total);
    stop_if_interrupted();
  });
  if (io.json) {
    nlohmann::json document{{"schema", 1}, {"device", roof.device}, {"buffer", roof.buffer}, {"layout", checksum(roof.layout)}};
    for (const auto& f : roof.figures) document["probes"][f.name] = {{"gb_per_s", f.gb_per_s}, {"gflop_per_s", f.gflop_per_s}, {"runs", f.runs}};
    io.out_json(document);
    return 0;
  }
  std::string text = fmt::format("{} with {} of its memory\n", roof.device, human_bytes(roof.buffer));
  for (const auto& f : roof.figures)
    text += fmt::format("  {:<10} {:>12.1f} {:<8} {}\n", f.name, f.gb_per_s > 0 ? f.gb_per_s : f.gflop_per_s, f.gb_per_s > 0 ? "GB/s" : "GFLOP/s",
                        f.note);
  io.out(text + fmt::format("  {:<10} {:>12}          which lane holds which element of a tile: equal sums, equal layouts\n", "layout",
                            checksum(roof.layout).substr(0, 12)));
  return 0;
}

}  // namespace

int roof_command(const RoofArgs& args, const Io& io) {
  if (!args.device.empty()) return device_roof(args, io);
  RoofOptions options{.threads = args.threads, .seconds = args.seconds};
  if (options.threads.empty()) options.threads = {1, usable_cores()};
  std::sort(options.threads.begin(), options.threads.end());
  options.threads.erase(std::unique(options.threads.begin(), options.threads.end()), options.threads.end());
  if (!args.buffer.empty()) options.buffer = parse_bytes(args.buffer);
  options.only.insert(args.only.begin(), args.only.end());
  if (args.save && !options.only.empty())
    throw Error(ErrorKind::usage, "what is saved is used as the roof, so it must be whole", "--save", "leave out --only");
  const std::string path = args.save ? default_roof_path() : "";
  if (args.save) {
    std::error_code failed;
    std::filesystem::create_directories(std::filesystem::path(path).parent_path(), failed);
    if (failed) throw Error(ErrorKind::runtime, "cannot create the folder: " + failed.message(), printable(path));
  }
  const LoadAverage load = load_average();
  const auto bar = io.progress_bar("roof");
  const Roof roof = measure_roof(options, [&](int64_t done, int64_t total) {
    bar(done, total);
    stop_if_interrupted();
  });
  if (args.save) write_file(path, to_json(roof).dump(2) + "\n");
  if (io.json) {
    auto document = to_json(roof);
    document["load_average"] = {load.one, load.five, load.fifteen};
    if (args.save) document["saved"] = path;
    io.out_json(document);
  } else {
    io.out(roof_text(roof));
    if (args.save) io.out(fmt::format("\nsaved to {}\n", printable(path, 4096)));
  }
  return 0;
}

}  // namespace kerf
