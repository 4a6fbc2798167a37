// Runs plans. A plan is bound once to memory (addresses of weights, state, arena) and then run any number of times:
// a loop over its steps, with observers that see every value by name.
#pragma once
#include <functional>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <unordered_map>
#include <vector>

#include "core/device.h"
#include "core/plan.h"

namespace kerf {

/// The devices of a run, and the memory a placement takes on them.
class Storage {
 public:
  /// Bytes of a tensor in the file, valid as long as the Storage.
  using Source = std::function<std::span<const std::byte>(const std::string& tensor)>;
  using Progress = std::function<void(int64_t done, int64_t total)>;

  struct Weights {
    Source source{};
    std::function<void(const std::string& tensor)> done{};  // its bytes in the file are not read again
  };
  /// Takes memory for weights and state of `placement`, prepares the weights that are stored in another layout than the
  /// file's and uploads those whose home is not the host. Other weights of the host are used where the source has them.
  /// @throws Error(memory)
  Storage(const std::vector<Device*>& devices, const Graph& graph, const Placement& placement, const Weights& weights, const Registry& registry,
          ThreadPool& pool, const Progress& progress = {});
  /// Makes room for the arenas of `plan`; those of other plans share it.
  void reserve(const Plan& plan);

  /// A copy of a state's bytes from its home, and back to it: the one way in which a state leaves its home and returns.
  /// Plans are not concerned: no other byte moves.
  std::vector<std::byte> save(const Home& state) const;
  void restore(const Home& state, std::span<const std::byte> bytes) const;

  Device& device(const DeviceId& id) const;
  std::byte* home(const std::string& name) const;
  std::byte* arena(const DeviceId& id) const;
  /// Bytes taken on a device so far.
  int64_t taken(const DeviceId& id) const;

 private:
  struct PerDevice {
    Device* device = nullptr;
    Buffer homes{}, arena{};
  };
  std::map<DeviceId, PerDevice> devices_;
  std::unordered_map<std::string, std::byte*> homes_;
};

/// What an observer is shown after each step.
struct StepEvent {
  const Plan& plan;
  const Graph& graph;
  size_t index = 0;                    // of the step in the plan
  const std::string& name;             // of the node or value
  TensorView out{};                    // the first output, in the device's memory
  std::span<const TensorView> outs{};  // all of them
  Device& device;
  double seconds = 0;  // of this step
};
struct Observer {
  virtual ~Observer() = default;
  virtual void after(const StepEvent& event) = 0;
};

struct ExecutorCounters {
  int64_t steps = 0, copies = 0, copied_bytes = 0;
  int64_t replays = 0;  // islands that were launched as a recording
};

class Program {
 public:
  /// Resolves every place of the plan to an address. `inputs` gives the host address of each input value by name.
  Program(std::shared_ptr<const Graph> graph, std::shared_ptr<const Plan> plan, const Registry& registry, Storage& memory,
          const std::map<std::string, std::byte*>& inputs);
  /// One pass. `after_step` is called after each kernel and at the end, and may throw (a failed device, a truncated file, a wish to stop).
  void run(ThreadPool& pool, ExecutorCounters& counters, std::span<Observer* const> observers, const std::function<void()>& after_step);
  /// The graph's outputs, on the host.
  const std::vector<TensorView>& outputs() const { return outputs_; }
  const Plan& plan() const { return *plan_; }
  const Graph& graph() const { return *graph_; }

 private:
  struct Action {
    Device* device = nullptr;  // runs the kernel; for copies the source
    Device* target = nullptr;  // copies only
    const Kernel* kernel = nullptr;
    const Problem* problem = nullptr;
    std::vector<TensorView> in{}, out{};
    std::span<std::byte> scratch{};
    const std::string* name = nullptr;
  };
  /// Consecutive steps of one device between copies. From its second run on it is launched as a recording, where the device has those.
  struct Island {
    Device* device = nullptr;
    size_t first = 0, end = 0;  // of the actions
    int runs = 0;
    std::unique_ptr<Recording> recording{};
  };
  void copy(const Action& action, ExecutorCounters& counters);
  void launch(const Action& action, ThreadPool& pool);
  void run_watched(const Island& island, ThreadPool& pool, std::span<Observer* const> observers, const std::function<void()>& after_step);
  void run_island(Island& island, ThreadPool& pool, ExecutorCounters& counters, const std::function<void()>& after_step);
  std::shared_ptr<const Graph> graph_;
  std::shared_ptr<const Plan> plan_;
  std::vector<Action> actions_;
  std::vector<Island> islands_;  // in order; an action that is in none is a copy
  std::vector<TensorView> outputs_;
  std::vector<std::byte> staging_;  // between two devices neither of which is the host
};

}  // namespace kerf
