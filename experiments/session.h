// One engine, many uses: run, logits, perplexity, bench and the tests drive the same Session. It holds a model, its
// placement on devices, the plans made so far (one per batch shape), the KV state and the position in it.
#pragma once
#include <algorithm>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "core/device.h"
#include "core/executor.h"
#include "core/kernel.h"
#include "core/placement.h"
#include "core/plan.h"
#include "core/threadpool.h"
#include "loaders/gguf.h"
#include "loaders/models/model.h"

namespace kerf {

struct SessionOptions {
  std::string model{};
  gguf::Options file{};
  std::optional<int64_t> context{};     // -c; 0: as long as the model was trained for; absent: that, at most 4096
  int64_t micro_batch = 512;            // -ub
  int64_t max_outputs = 1;              // rows of logits one micro-batch may return
  bool greedy = false;                  // only the most probable token of each is asked for (Session::result)
  std::optional<DType> k{}, v{};        // -ctk, -ctv; default f16, with the reference backend f32
  int threads = 0;                      // 0: usable_cores()
  std::vector<std::string> devices{};   // --device, as written
  std::optional<int64_t> gpu_layers{};  // -ngl
  std::vector<double> tensor_split{};   // --tensor-split
  std::vector<Rule> rules{};            // -ot first, then --rules, in order
  bool cpu_moe = false;                 // --cpu-moe
  std::optional<int64_t> n_cpu_moe{};   // --n-cpu-moe
  std::string plan_file{};              // --plan
  KernelPolicy policy{};
  bool check = false;      // --check: scan every weight for NaN and infinity before use
  bool plan_only = false;  // no memory is taken, no weight is read: for `kerf plan`
};

class Session {
 public:
  using Progress = Storage::Progress;
  /// Opens, checks, places, plans and, unless plan_only, takes memory and loads. @throws Error with the exit code to use.
  Session(SessionOptions options, const Registry& registry, const Progress& progress = {});

  /// Feeds tokens at the current position, in micro-batches, and hands over the logits of the last `outputs` of them:
  /// take(first, rows): rows [n, V] for outputs first .. first+n-1, valid during the call.
  /// @throws Error(memory) with both numbers if the context is too short; Error(usage) for an id outside the vocabulary.
  void forward(std::span<const int32_t> tokens, int64_t outputs, const std::function<void(int64_t first, std::span<const float> rows)>& take);
  /// The same for the last token only: logits [V].
  std::vector<float> forward(std::span<const int32_t> tokens);

  /// What passes of this session give: greedy ids if SessionOptions::greedy asks for them, unless the file's vocabulary has tokens
  /// that must never be generated, or --plan has steps for logits.
  PassResult result() const { return result_; }
  /// For sessions of greedy ids: feeds tokens, and returns the id with the largest logit after the last, of equal ones the lowest.
  /// @throws Error(runtime) if a logit is not finite, else as forward(), which is for sessions of logits.
  int32_t forward_greedy(std::span<const int32_t> tokens);

  /// Forgets the positions from `position` on; 0 forgets all. What the caches held before stays valid. A model with recurrent
  /// states can only go back to the beginning or to a checkpoint, so it may forget more. @return the position reached.
  int64_t rewind(int64_t position);
  /// Keeps a copy of the recurrent states as they are now, on the host, for rewind(); nothing for models without such, or
  /// after a pass that an exception ended. The last kCheckpoints are kept, in memory beyond what the plan counts.
  void checkpoint();
  static constexpr size_t kCheckpoints = 4;
  /// Names of the states that every token overwrites.
  const std::vector<std::string>& recurrent_states() const { return recurrent_; }
  /// A copy of a state's bytes, as its home stores them.
  std::vector<std::byte> state(const std::string& name) const { return storage_->save(placement_.of(name)); }
  /// Bytes that the checkpoints take.
  int64_t checkpoint_bytes() const;
  int64_t position() const { return position_; }
  int64_t context() const { return context_; }
  int64_t n_vocab() const { return model_->hparams().n_vocab; }
  int64_t micro_batch() const { return options_.micro_batch; }
  int64_t max_outputs() const { return options_.max_outputs; }
  int threads() const { return pool_.size(); }
  DType k_type() const { return k_; }
  DType v_type() const { return v_; }

  const gguf::File& file() const { return file_; }
  const Model& model() const { return *model_; }
  const KernelPolicy& policy() const { return options_.policy; }
  const Placement& placement() const { return placement_; }
  const Registry& registry() const { return registry_; }
  ThreadPool& pool() { return pool_; }
  const std::vector<std::string>& warnings() const { return warnings_; }
  const ExecutorCounters& counters() const { return counters_; }
  std::vector<const Device*> devices() const;
  /// Bytes taken on a device by weights, state and arena.
  int64_t taken(const DeviceId& id) const { return storage_ ? storage_->taken(id) : 0; }
  /// Bytes set aside on a device for computed values of any micro-batch.
  int64_t reserved_arena(const DeviceId& id) const;

  struct Planned {
    std::shared_ptr<const Graph> graph;
    std::shared_ptr<const Plan> plan;
  };
  /// The plan for a micro-batch, made on first use.
  const Planned& planned(int64_t tokens, int64_t outputs);

  void observe(Observer* observer) { observers_.push_back(observer); }
  /// Called after every kernel and at the end of a pass; may throw to end it.
  void after_step(std::function<void()> check) { after_step_ = std::move(check); }

 private:
  /// What both forms of forward() do: take(first, values) is given the output of each micro-batch that has one.
  void pass(std::span<const int32_t> tokens, int64_t outputs, const std::function<void(int64_t first, const TensorView& values)>& take);
  PassResult result_of_passes() const;
  GraphOptions graph_options(int64_t tokens, int64_t outputs) const;
  Program& program(int64_t tokens, int64_t outputs);
  bool fits_reserved(const Plan& plan) const;
  void check_host_memory() const;

  SessionOptions options_;
  const Registry& registry_;
  ThreadPool pool_;
  gguf::File file_;
  std::vector<std::string> warnings_;
  std::unique_ptr<Model> model_;
  std::unique_ptr<WeightBytes> weight_bytes_;     // of the file's tensors and of weights put together from them
  std::vector<std::unique_ptr<Device>> devices_;  // before storage_, whose buffers go back to them
  int64_t context_ = 0, position_ = 0;
  DType k_ = DType::f16, v_ = DType::f16;
  PassResult result_ = PassResult::logits;
  Placement placement_;
  std::optional<PlanFile> plan_file_;
  std::unique_ptr<Storage> storage_;
  std::map<DeviceId, int64_t> reserved_;
  using Key = std::pair<int64_t, int64_t>;
  std::map<Key, Planned> plans_;
  std::map<Key, Program> programs_;
  std::vector<int32_t> tokens_, positions_, output_rows_;
  struct Checkpoint {
    int64_t position = 0;
    std::vector<std::vector<std::byte>> states{};  // in the order of recurrent_
  };
  std::vector<std::string> recurrent_;
  std::vector<Checkpoint> checkpoints_;  // by rising position, all at or before position_
  bool half_done_ = false;               // a pass ended by an exception: recurrent states are of no position
  ExecutorCounters counters_;
  std::vector<Observer*> observers_;
  std::function<void()> after_step_;
};

}  // namespace kerf
