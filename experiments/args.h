// What the command line was parsed into: plain data, one struct per command. cli.cpp fills them, commands read them.
#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "experiments/sampler.h"

namespace kerf {

/// Options that mean the same on every command that runs a model.
struct ModelArgs {
  std::string model{};
  int threads = 0;
  std::optional<int64_t> context{};
  int64_t batch = 2048, micro_batch = 512;
  std::string ctk{}, ctv{};
  std::string backend = "cpu";
  std::vector<std::string> kernels{};  // OP=NAME
  std::string isa{};
  std::string activations = "auto";  // auto | q15 | bf16 | q8 | f32
  bool no_repack = false, repack_experts = false;
  std::string fuse = "all";  // all | none | names of core/rewrite.h and "format", separated by commas
  std::vector<std::string> devices{};
  std::optional<int64_t> gpu_layers{};
  std::string tensor_split{};
  std::vector<std::string> overrides{};  // -ot
  bool cpu_moe = false;
  std::optional<int64_t> n_cpu_moe{};
  std::string rules{};
  std::string plan{};
  bool no_mmap = false, strict = false, check = false;
};

/// What a run is watched for (experiments/watch.h).
struct WatchArgs {
  std::string dump_routing{};
  std::string capture{}, capture_dir{};
};

struct CommonArgs {
  bool json = false;
  int verbosity = 1;
};

struct RunArgs {
  ModelArgs model{};
  std::string prompt{}, file{}, system{};
  int64_t n_predict = -1;
  SamplerOptions sampler{};
  bool raw = false, interactive = false, stats = false;
  std::string roof{};
  WatchArgs watch{};
};
struct LogitsArgs {
  ModelArgs model{};
  std::string tokens{}, out{}, out_ids{};
  int64_t last = 0, chunk = 0, greedy = 0;
  WatchArgs watch{};
};
struct TokenizeArgs {
  std::string model{}, prompt{}, file{}, decode{};
  bool has_prompt = false, pieces = false, no_special = false, no_bos = false;
};
struct InspectArgs {
  std::string model{}, key{};
  bool tensors = false, check = false, strict = false;
};
struct BenchArgs {
  ModelArgs model{};
  std::vector<int64_t> n_prompt{512}, n_gen{128}, n_depth{0};
  std::vector<int> threads{};
  int repetitions = 5;
  std::vector<int64_t> micro_batch{};     // -ub; empty: the one of `model`
  std::vector<std::string> ctk{}, ctv{};  // empty: the ones of `model`
  std::string output{};                   // empty: md, or json with --json
  std::string roof{};                     // --roof; empty: the saved one
};
struct RoofArgs {
  std::vector<int> threads{};  // empty: 1 and all cores
  double seconds = 20;
  std::vector<std::string> only{};  // parts
  std::string buffer{};             // bytes, as written
  bool save = false;
  std::string device{};  // a GPU, instead of the host
};
struct PerplexityArgs {
  ModelArgs model{};
  std::string file{};
  int64_t max_chunks = 0;
  WatchArgs watch{};
};
struct TraceArgs {
  ModelArgs model{};
  std::string prompt{};
  int64_t tokens = 0;  // random ones instead of a prompt
  int64_t n_predict = 16;
  bool steps = false, nodes = false, no_warmup = false;
  std::string out{}, format{};  // format empty: table, with --json json
};
struct PlanArgs {
  ModelArgs model{};
  int64_t tokens = 0;   // 0: both shapes of a run, the micro-batch and one token
  bool greedy = false;  // the plans of `kerf run --temp 0`
  std::string save{}, why{};
};
struct LadderArgs {
  std::string name{};             // OP or OP.TYPE
  std::vector<int64_t> tokens{};  // empty: 1 and 512 for matmul and attention, 32 for others
  int threads = 0;
  std::string isa{};
  double seconds = 0.5;
  std::string rotate = "300MiB";
};
struct SynthArgs {
  std::string shape{}, mix{}, out{};
  int64_t layers = 0, context = 0;  // 0: the shape's
  uint64_t seed = 1;
  int threads = 0;
  bool list = false, dry_run = false;
};
struct KernelArgs {
  std::string action{};  // list explain test bench launches coverage
  std::vector<std::string> filter{};
  ModelArgs model{};
  uint64_t seed = 1;
  int64_t only_case = -1;
  double seconds = 0.2;
  std::string shape{};  // --shape N,K of matmul; empty: a feed-forward matrix
  std::vector<int64_t> tokens{1, 4, 16, 64, 512};
  std::string roof{};
  std::string device{};  // test, bench, launches: where kernels run; empty: the host, for launches emu:0
};

}  // namespace kerf
