// kerf synth: a file with a model's true shape and random weights.
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <map>
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "core/text.h"
#include "core/threadpool.h"
#include "experiments/commands.h"
#include "experiments/synth_values.h"

namespace kerf {
namespace {

const ModelShape& shape_named(const std::string& name) {
  std::vector<std::string_view> known;
  for (const auto& shape : known_shapes()) {
    if (shape.name == name) return shape;
    known.push_back(shape.name);
  }
  if (name.empty()) throw Error(ErrorKind::usage, "which model?", "--shape", fmt::format("one of {}", fmt::join(known, ", ")));
  throw Error(ErrorKind::usage, fmt::format("no shape \"{}\"", printable(name)), "--shape", fmt::format("known: {}", fmt::join(known, ", ")));
}

quant::Mix mix_of(const std::string& name) {
  if (const auto mix = quant::mix_named(name)) return *mix;
  std::vector<std::string_view> known;
  for (const auto& row : quant::kMixes) known.push_back(row.name);
  if (name.empty()) throw Error(ErrorKind::usage, "which types?", "--mix", fmt::format("one of {}", fmt::join(known, ", ")));
  throw Error(ErrorKind::usage, fmt::format("no mix \"{}\"", printable(name)), "--mix", fmt::format("known: {}", fmt::join(known, ", ")));
}

void check_layers(const ModelShape& shape, int64_t layers) {
  if (layers > shape.layers) throw Error(ErrorKind::usage, fmt::format("{} has {} layers, not {}", shape.name, shape.layers, layers), "--layers");
  if (shape.delta.interval > 0 && layers % shape.delta.interval != 0)
    throw Error(
        ErrorKind::usage,
        fmt::format("of every {} layers of {} one is attention, so a part of {} is not like the whole", shape.delta.interval, shape.name, layers),
        "--layers", fmt::format("use a multiple of {}", shape.delta.interval));
}

double gigabytes(int64_t bytes) { return static_cast<double>(bytes) / 1e9; }

int print_list(const Io& io) {
  nlohmann::json shapes = nlohmann::json::array();
  std::string text = fmt::format("{:<18} {:<9} {:>6} {:>10}  {}\n{:<18} {:<9} {:>6} {:>10} ", "", "", "", "", "size of a file in GB (10^9 bytes)",
                                 "shape", "kind", "layers", "parameters");
  for (const auto& row : quant::kMixes) text += fmt::format(" {:>6}", row.name);
  text += '\n';
  for (const auto& shape : known_shapes()) {
    nlohmann::json sizes;
    std::string cells;
    int64_t parameters = 0;
    for (const auto& row : quant::kMixes) {
      const SynthFile file = synth_file(shape, {.mix = row.mix});
      parameters = file.parameters;
      sizes[std::string(row.name)] = file.bytes;
      cells += fmt::format(" {:>6.2f}", gigabytes(file.bytes));
    }
    shapes.push_back(
        {{"name", shape.name}, {"architecture", shape.architecture}, {"layers", shape.layers}, {"parameters", parameters}, {"bytes", sizes}});
    text +=
        fmt::format("{:<18} {:<9} {:>6} {:>8.3f} B {}\n", shape.name, shape.architecture, shape.layers, static_cast<double>(parameters) / 1e9, cells);
  }
  io.json ? io.out_json(nlohmann::json{{"schema", 1}, {"shapes", shapes}}) : io.out(text);
  return 0;
}

/// A part of a tensor that one thread makes and writes.
struct Piece {
  const SynthTensor* tensor = nullptr;
  int64_t first = 0, blocks = 0;
  int64_t block_bytes() const { return info(tensor->desc.dtype).block_bytes; }
  int64_t bytes() const { return blocks * block_bytes(); }
};

std::vector<Piece> pieces_of(const SynthFile& file) {
  constexpr int64_t kPieceBytes = 1 << 20;  // fits into L2, so that a piece is written from there
  std::vector<Piece> pieces;
  for (const auto& t : file.tensors) {
    const DTypeInfo& format = info(t.desc.dtype);
    const int64_t all = t.desc.size() / format.block_values, most = kPieceBytes / format.block_bytes;
    for (int64_t first = 0; first < all; first += most) pieces.push_back({&t, first, std::min(most, all - first)});
  }
  return pieces;
}

/// Threads make pieces and write them where they belong; how many there are changes nothing in the file.
void write_model(const SynthFile& file, const ModelShape& shape, const SynthArgs& args, const Io& io) {
  OutputFile out(args.out);
  out.reserve(file.bytes);
  out.write_at(0, std::as_bytes(std::span(file.header)));
  const std::vector<Piece> pieces = pieces_of(file);
  ThreadPool pool(args.threads > 0 ? args.threads : usable_cores());
  const auto workers = static_cast<size_t>(pool.size());
  const size_t round = 32 * workers;  // some ten milliseconds between looks at the clock and at interrupts
  std::vector<std::vector<std::byte>> buffers(workers);
  const auto bar = io.progress_bar("synth");
  int64_t written = 0;
  for (size_t begin = 0; begin < pieces.size(); begin += round) {
    stop_if_interrupted();
    const size_t end = std::min(begin + round, pieces.size());
    pool.parallel_for(pool.size(), [&](int64_t w) {
      auto& buffer = buffers[static_cast<size_t>(w)];
      for (size_t i = begin + static_cast<size_t>(w); i < end; i += workers) {
        const Piece& p = pieces[i];
        buffer.resize(static_cast<size_t>(p.bytes()));
        SynthValues(*p.tensor, shape, args.seed).fill(p.first, p.blocks, buffer.data());
        out.write_at(p.tensor->offset + p.first * p.block_bytes(), buffer);
      }
    });
    for (size_t i = begin; i < end; ++i) written += pieces[i].bytes();
    bar(written, file.bytes);
  }
  bar(file.bytes, file.bytes);
  out.commit();
}

}  // namespace

int synth_command(const SynthArgs& args, const Io& io) {
  if (args.list) return print_list(io);
  const ModelShape& shape = shape_named(args.shape);
  const quant::Mix mix = mix_of(args.mix);
  check_layers(shape, args.layers);
  if (args.out.empty() && !args.dry_run) throw Error(ErrorKind::usage, "which file?", "OUT", "name it, or use --dry-run");
  const SynthFile file = synth_file(shape, {.mix = mix, .layers = args.layers, .context = args.context, .seed = args.seed});
  const auto start = std::chrono::steady_clock::now();
  if (!args.dry_run) write_model(file, shape, args, io);
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();

  const int64_t layers = args.layers > 0 ? args.layers : shape.layers;
  std::map<std::string_view, int64_t> types;
  for (const auto& t : file.tensors) types[name_of(t.desc.dtype)] += t.desc.bytes();
  if (io.json) {
    nlohmann::json result{{"schema", 1},
                          {"command", io.command},
                          {"shape", shape.name},
                          {"architecture", shape.architecture},
                          {"mix", quant::info(mix).name},
                          {"layers", layers},
                          {"seed", args.seed},
                          {"dry_run", args.dry_run},
                          {"tensors", file.tensors.size()},
                          {"parameters", file.parameters},
                          {"bytes", file.bytes},
                          {"bits_per_weight", 8.0 * static_cast<double>(file.bytes) / static_cast<double>(file.parameters)}};
    for (const auto& [name, bytes] : types) result["types"][std::string(name)] = bytes;
    if (!args.out.empty()) result["out"] = args.out;
    if (!args.dry_run) result["seconds"] = seconds;
    io.out_json(result);
    return 0;
  }
  std::string text = fmt::format("{} {}, {} of {} layers: {} tensors, {} parameters, {} bytes ({})\n", shape.name, quant::info(mix).name, layers,
                                 shape.layers, file.tensors.size(), file.parameters, file.bytes, human_bytes(file.bytes));
  for (const auto& [name, bytes] : types) text += fmt::format("  {:<6} {:>13} bytes\n", name, bytes);
  if (!args.dry_run)
    text += fmt::format("{} written in {:.2f} s, {:.2f} GB/s\n", printable(args.out, 4096), seconds, gigabytes(file.bytes) / seconds);
  io.out(text);
  return 0;
}

}  // namespace kerf
