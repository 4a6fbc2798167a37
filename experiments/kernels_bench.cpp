// kerf kernels bench: how fast each kernel is, from which bytes, and how far below the roof.
//
// What a token streams from memory in a model (weights, caches) is streamed from memory here too, where a batch is so small
// that this is what it costs: calls take turns with copies that no cache holds. One matrix called again and again would
// show the speed of the cache it lies in.
#include <fmt/format.h>
#include <sys/mman.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <chrono>
#include <cstring>
#include <nlohmann/json.hpp>

#include "backends/backends.h"
#include "core/error.h"
#include "core/text.h"
#include "core/threadpool.h"
#include "experiments/kernel_data.h"
#include "experiments/kernels_command.h"
#include "experiments/roof.h"

namespace kerf {
namespace {

using Clock = std::chrono::steady_clock;
constexpr int64_t kDepth = 2048;            // positions in the cache before the tokens of an attention problem
constexpr int64_t kDecodeTokens = 16;       // up to so many, weights are read for little arithmetic
constexpr int64_t kStreamed = 600'000'000;  // bytes of copies: beyond the last cache of any processor, or most of it
constexpr int64_t kMostCopies = 4096;
constexpr double kLaunched = 0.002;  // seconds of launches on a device between two waits, which cost about 10 us
constexpr int kMostLaunches = 200;

/// The copies' memory: on the device, or on the host, in huge pages where the system gives them; grows, never shrinks.
class Arena {
 public:
  explicit Arena(Device* device) : device_(device) {}
  ~Arena() { release(); }
  Arena(const Arena&) = delete;
  Arena& operator=(const Arena&) = delete;
  Device* device() const { return device_; }
  std::byte* reserve(int64_t bytes) {
    if (bytes <= size_) return data_;
    release();
    if (device_) {
      buffer_ = device_->allocate(bytes);
      size_ = bytes;
      return data_ = buffer_.data();
    }
    void* p = ::mmap(nullptr, static_cast<size_t>(bytes), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED) throw Error(ErrorKind::memory, fmt::format("no {} for tensors: {}", human_bytes(bytes), std::strerror(errno)));
    ::madvise(p, static_cast<size_t>(bytes), MADV_HUGEPAGE);
    data_ = static_cast<std::byte*>(p);
    size_ = bytes;
    return data_;
  }

 private:
  void release() {
    if (data_ && !device_) ::munmap(data_, static_cast<size_t>(size_));
    buffer_ = {};
    data_ = nullptr;
    size_ = 0;
  }
  Device* device_;
  Buffer buffer_;
  std::byte* data_ = nullptr;
  int64_t size_ = 0;
};

int64_t aligned(int64_t bytes) { return (bytes + 63) / 64 * 64; }

/// Whether input i comes from memory in each pass of a model: weights, and the cache that attention reads.
bool is_streamed(const Op& op, size_t i) {
  if (std::holds_alternative<Attention>(op)) return i == 1 || i == 2;
  if (const auto e = expert_inputs(op)) return i >= e->first && i < e->first + e->count;
  if (const auto* several = std::get_if<MatMuls>(&op)) return i >= 1 && i <= static_cast<size_t>(several->count);
  return reads_formats(op) && i >= 1;
}

/// The tensors of one problem: several copies of what is streamed, one of all else.
class Tensors {
 public:
  Tensors(const Problem& p, int64_t scratch, int64_t depth, Arena& arena) : problem_(p), device_(arena.device()) {
    int64_t streamed = 0;
    for (size_t i = 0; i < p.in.size(); ++i) (is_streamed(p.op, i) ? streamed : single_) += aligned(p.in[i].bytes());
    for (size_t i = 0; i < p.out.size(); ++i)
      if (!alias_of(p.op, i)) single_ += aligned(p.out[i].bytes());
    if (streamed > 0 && p.in[0].rows() <= kDecodeTokens) {
      const int64_t free = device_ ? device_->limit() : available_memory_bytes(), most = free > 0 ? std::min(kStreamed, free / 3) : kStreamed;
      copies_ = std::clamp<int64_t>((most + streamed - 1) / streamed, 1, kMostCopies);
    }
    working_set_ = single_ + streamed * copies_;
    std::byte* next = arena.reserve(working_set_ + aligned(scratch));
    const auto take = [&](int64_t bytes) { return std::exchange(next, next + aligned(bytes)); };
    const KernelInputs inputs = make_inputs(p, DataKind::normal, 1, depth);
    for (int64_t c = 0; c < copies_; ++c) {
      std::vector<TensorView> views;
      for (size_t i = 0; i < p.in.size(); ++i) {
        if (c > 0 && !is_streamed(p.op, i)) {
          views.push_back(in_[0][i]);
          continue;
        }
        views.push_back({p.in[i], take(p.in[i].bytes())});
        if (device_)
          device_->upload(views.back().data, inputs.bytes[i].data(), static_cast<int64_t>(inputs.bytes[i].size()));
        else
          std::memcpy(views.back().data, inputs.bytes[i].data(), inputs.bytes[i].size());
      }
      in_.push_back(std::move(views));
    }
    for (size_t i = 0; i < p.out.size(); ++i) {
      const auto from = alias_of(p.op, i);
      out_.push_back({p.out[i], from ? in_[0][*from].data : take(p.out[i].bytes())});
    }
    scratch_ = {next, static_cast<size_t>(scratch)};
  }
  int64_t copies() const { return copies_; }
  int64_t working_set() const { return working_set_; }

  /// Of one call; on a device the mean of several, launched one after another and waited for once.
  double seconds_of(const Kernel& kernel, ThreadPool& pool) {
    const auto start = Clock::now();
    for (int i = 0; i < launches_; ++i) {
      const Call call{in_[turn_++ % in_.size()], out_, scratch_, pool};
      if (device_)
        device_->run(kernel, problem_, call);
      else
        kernel.run(problem_, call);
    }
    if (device_) device_->wait();
    const double seconds = std::chrono::duration<double>(Clock::now() - start).count();
    const int launched = std::exchange(launches_, device_ ? std::clamp(static_cast<int>(kLaunched / seconds), 1, kMostLaunches) : 1);
    return seconds / launched;
  }

 private:
  Problem problem_;
  int64_t copies_ = 1, single_ = 0, working_set_ = 0;
  std::vector<std::vector<TensorView>> in_;
  std::vector<TensorView> out_;
  std::span<std::byte> scratch_;
  size_t turn_ = 0;
  Device* device_;
  int launches_ = 1;  // of the next seconds_of()
};

struct WeightShape {
  int64_t rows = 8960, cols = 1536;  // Qwen2.5-1.5B, feed-forward
};

WeightShape parse_shape(const std::string& text) {
  WeightShape s;
  if (text.empty()) return s;
  const char* end = text.data() + text.size();
  const auto [comma, failed] = std::from_chars(text.data(), end, s.rows);
  const bool ok = failed == std::errc{} && comma != end && *comma == ',';
  const auto [last, failed_too] = ok ? std::from_chars(comma + 1, end, s.cols) : std::from_chars_result{end, std::errc::invalid_argument};
  constexpr int64_t kMost = int64_t{1} << 20;
  if (!ok || failed_too != std::errc{} || last != end || s.rows < 1 || s.cols < 1 || s.rows > kMost || s.cols > kMost)
    throw Error(ErrorKind::usage, fmt::format("expected N,K, each from 1 to 2^20, got \"{}\"", printable(text)), "--shape");
  return s;
}

/// Problems worth a row: for each format, all batch sizes one after another.
std::vector<Problem> problems_of(std::string_view op, const WeightShape& shape, const std::vector<int64_t>& tokens) {
  std::vector<Problem> all;
  constexpr int64_t kWidth = 2048, kRows = 8192, kHead = 128, kHeads = 12, kKvHeads = 2;
  constexpr int64_t kExperts = 128, kUsed = 8, kExpertRows = 768, kExpertWidth = 2048;  // Qwen3 30B-A3B
  constexpr int64_t kKeyHeads = 16, kValueHeads = 32, kTaps = 4;                        // Qwen3.5 35B-A3B
  constexpr int64_t kVocab = 151936;                                                    // Qwen2.5, Qwen3
  const int64_t context = kDepth + *std::max_element(tokens.begin(), tokens.end());
  const auto each = [&](auto&& f) {
    for (const int64_t T : tokens) f(T);
  };
  for (const auto& row : kDTypes) {
    const DType t = row.dtype;
    const bool weights = (row.gguf_id >= 0 || row.tile_rows > 1) && shape.cols % row.block_values == 0;
    const TensorDesc w = matrix(t, shape.rows, shape.cols), cache{t, {1, kKvHeads, context, kHead}};
    if (weights && (op == MatMul::name || op == MatMuls::name || op == MatMulSwiGlu::name))
      for (const auto& format : kDTypes) {
        if (format.gguf_id >= 0 && format.dtype != DType::f32) continue;
        if (shape.cols % format.block_values != 0) continue;
        each([&](int64_t T) {
          const TensorDesc x = matrix(format.dtype, T, shape.cols);
          if (op == MatMul::name) all.push_back(problem(MatMul{}, {x, w}));
          if (op == MatMuls::name) all.push_back(problem(MatMuls{.count = 1, .add = true}, {x, w, matrix(DType::f32, T, shape.rows)}));
          if (op == MatMulSwiGlu::name) all.push_back(problem(MatMulSwiGlu{}, {x, w, w}));
        });
      }
    if (row.gguf_id < 0) continue;
    if (op == ExpertMatMul::name || op == ExpertSwiGlu::name || op == ExpertMatMulSum::name)
      for (const auto& format : kDTypes) {
        const bool down = op == ExpertMatMulSum::name;
        const int64_t rows = down ? kExpertWidth : kExpertRows, cols = down ? kExpertRows : kExpertWidth;
        if ((format.gguf_id >= 0 && format.dtype != DType::f32) || cols % format.block_values != 0 || cols % row.block_values != 0) continue;
        each([&](int64_t T) {
          const TensorDesc experts{t, {1, kExperts, rows, cols}}, ids = matrix(DType::i32, T, kUsed);
          const TensorDesc x = matrix(format.dtype, down ? T * kUsed : T, cols);
          if (op == ExpertMatMul::name) all.push_back(problem(ExpertMatMul{}, {x, experts, ids}));
          if (op == ExpertSwiGlu::name) all.push_back(problem(ExpertSwiGlu{}, {x, experts, experts, ids}));
          if (down) all.push_back(problem(ExpertMatMulSum{}, {x, experts, ids, matrix(DType::f32, T, kUsed)}));
        });
      }
    each([&](int64_t T) {
      const TensorDesc positions = vector_of(DType::i32, T), q = matrix(DType::f32, T, kHeads * kHead), k = matrix(DType::f32, T, kKvHeads * kHead);
      if (op == Rows::name) all.push_back(problem(Rows{}, {matrix(t, kRows, kWidth), positions}));
      if (op == KvWrite::name) all.push_back(problem(KvWrite{}, {cache, k, positions}));
      if (op == Attention::name) all.push_back(problem(Attention{.n_head = kHeads, .scale = 0.088f}, {q, cache, cache, positions}));
      if (op == RopeCache::name)
        all.push_back(problem(RopeCache{.rope = {.head_dim = kHead, .pairing = RopePairing::neox}},
                              {q, k, k, matrix(DType::f32, T, kHead), cache, cache, positions}));
    });
    if (op == Convert::name && interleaved(t) && weights) all.push_back(problem(Convert{.to = *interleaved(t)}, {w}));
  }
  each([&](int64_t T) {
    const TensorDesc x = matrix(DType::f32, T, kWidth), wide = matrix(DType::f32, T, kRows);
    if (op == Add::name) all.push_back(problem(Add{}, {x, x}));
    if (op == RmsNorm::name) all.push_back(problem(RmsNorm{}, {x, vector_of(DType::f32, kWidth)}));
    if (op == RopeTable::name) all.push_back(problem(RopeTable{.dims = kHead}, {vector_of(DType::i32, T)}));
    if (op == Rope::name) all.push_back(problem(Rope{.head_dim = kHead, .pairing = RopePairing::neox}, {x, matrix(DType::f32, T, kHead)}));
    if (op == SwiGlu::name) all.push_back(problem(SwiGlu{}, {wide, wide}));
    const TensorDesc keys = matrix(DType::f32, T, kKeyHeads * kHead), values = matrix(DType::f32, T, kValueHeads * kHead);
    const TensorDesc gates = matrix(DType::f32, T, kValueHeads), per_head = vector_of(DType::f32, kValueHeads), positions = vector_of(DType::i32, T);
    const int64_t channels = 2 * keys.cols() + values.cols();
    if (op == Columns::name) all.push_back(problem(Columns{.group = 2 * kHead, .count = kHead}, {values}));
    if (op == SigmoidGate::name) all.push_back(problem(SigmoidGate{}, {values, values}));
    if (op == Router::name) all.push_back(problem(Router{.used = kUsed}, {matrix(DType::f32, T, kExperts)}));
    if (op == Argmax::name) all.push_back(problem(Argmax{}, {matrix(DType::f32, T, kVocab)}));
    if (op == ExpertSum::name) all.push_back(problem(ExpertSum{}, {matrix(DType::f32, T * kUsed, kWidth), matrix(DType::f32, T, kUsed)}));
    if (op == L2Norm::name) all.push_back(problem(L2Norm{.group = kHead}, {keys}));
    if (op == CausalConv::name)
      all.push_back(problem(CausalConv{.keys = keys.cols()}, {matrix(DType::f32, T, channels), matrix(DType::f32, channels, kTaps),
                                                              matrix(DType::f32, kTaps - 1, channels), positions}));
    if (op == DeltaGates::name) all.push_back(problem(DeltaGates{}, {gates, per_head, per_head, gates}));
    if (op == GatedDeltaRule::name)
      all.push_back(problem(GatedDeltaRule{.n_head_k = kKeyHeads, .scale = 0.088f},
                            {keys, keys, values, gates, gates, {DType::f32, {1, kValueHeads, kHead, kHead}}, positions}));
    if (op == GatedRmsNorm::name) all.push_back(problem(GatedRmsNorm{}, {values, vector_of(DType::f32, kHead), values}));
    if (op == Convert::name)
      for (const auto& format : kDTypes)
        if (format.gguf_id < 0 && kWidth % format.block_values == 0) all.push_back(problem(Convert{.to = format.dtype}, {x}));
  });
  return all;
}

/// As many calls as fit into the budget, after one that is not counted; sorted. A call longer than the budget counts itself.
std::vector<double> time_calls(const Kernel& kernel, Tensors& tensors, ThreadPool& pool, double budget) {
  const double first = tensors.seconds_of(kernel, pool);
  if (first > budget) return {first};
  std::vector<double> seconds;
  for (double spent = 0; spent < budget || seconds.size() < 3; spent += seconds.back()) seconds.push_back(tensors.seconds_of(kernel, pool));
  std::sort(seconds.begin(), seconds.end());
  return seconds;
}

constexpr const char* kLine = "{:<34} {:<66} {:>10} {:>10} {:>7} {:>6} {:>8}  {:<18} {:>6} {:>6}\n";

}  // namespace

int kernels_bench(const KernelArgs& args, const Registry& registry, const Io& io) {
  const WeightShape shape = parse_shape(args.shape);
  const Isa isa = kernel_policy(args.model).isa;
  if (std::none_of(registry.all().begin(), registry.all().end(), [&](const Kernel& k) { return name_matches(k.name(), args.filter); }))
    no_name_matches(args);
  const auto device = args.device.empty() ? nullptr : make_device(args.device, device_kinds());
  if (device) device->enter();
  const DeviceId where = device ? device->id() : kHost;
  ThreadPool pool(args.model.threads > 0 ? args.model.threads : usable_cores());
  std::string missing;
  const auto roof = device ? std::nullopt : find_roof(args.roof, missing);
  const RoofFigures* figures = roof ? roof->with_threads(pool.size()) : nullptr;
  if (roof && !figures) missing = no_roof_with(pool.size());
  nlohmann::json rows = nlohmann::json::array();
  if (!io.json) {
    io.out(fmt::format("{}; attention with {} positions in the cache; medians\n", device ? where : fmt::format("{} threads", pool.size()), kDepth));
    io.out(fmt::format(kLine, "kernel", "problem", "bytes", "us", "GB/s", "% read", "GFLOP/s", "unit", "% unit", "% peak"));
  }
  Arena arena(device.get());
  for (const auto& k : registry.all()) {
    if (!name_matches(k.name(), args.filter) || k.isa > isa || !runs_on(k.backend, where)) continue;
    for (const auto& p : problems_of(k.op, shape, args.tokens)) {
      if (!k.accepts(p)) continue;
      stop_if_interrupted();
      const bool cached = k.op == Attention::name || k.op == KvWrite::name || k.op == RopeCache::name;
      const int64_t depth = cached ? kDepth : 0;
      Tensors tensors(p, static_cast<int64_t>(k.scratch(p)), depth, arena);
      const auto seconds = time_calls(k, tensors, pool, args.seconds);
      const double median = seconds[seconds.size() / 2];
      const Work work = work_of(k, p, depth);
      const RoofShares shares = roof_shares(figures, work, median);
      const double gbytes = static_cast<double>(work.bytes) * 1e-9 / median, gflops = static_cast<double>(work.flops) * 1e-9 / median;
      const std::string what = to_text(p);
      if (!io.json)
        io.out(fmt::format(kLine, k.name(), what.substr(what.find(": ") + 2), human_bytes(tensors.working_set()), fmt::format("{:.1f}", median * 1e6),
                           fmt::format("{:.2f}", gbytes), percent_text(shares.read), fmt::format("{:.2f}", gflops), unit_text(unit_of(k, p)),
                           percent_text(shares.unit), percent_text(shares.peak)));
      nlohmann::json row{{"kernel", k.name()},
                         {"problem", what},
                         {"tokens", p.in[0].rows()},
                         {"working_set_bytes", tensors.working_set()},
                         {"copies", tensors.copies()},
                         {"calls", seconds.size()},
                         {"seconds", median},
                         {"min_seconds", seconds.front()},
                         {"max_seconds", seconds.back()},
                         {"gb_per_s", gbytes},
                         {"gflop_per_s", gflops},
                         {"unit", unit_of(k, p)},
                         {"threads", pool.size()},
                         {"device", where}};
      add_roof_fields(row, figures, shares);
      rows.push_back(std::move(row));
    }
  }
  if (io.json) io.out_json({{"schema", 1}, {"load_average", load_average().one}, {"rows", rows}});
  if (!missing.empty()) io.log->warn("{}", missing);
  return 0;
}

}  // namespace kerf
