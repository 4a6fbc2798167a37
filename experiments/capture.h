// Values of a run as NumPy files, for notebooks: an observer that keeps what the steps of the plan write.
#pragma once
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <set>
#include <string>
#include <vector>

#include "core/executor.h"
#include "experiments/io.h"

namespace kerf {

class Session;

/// Names that have most in common with a pattern, for a message about a name that is none.
std::vector<std::string> close_names(const std::string& pattern, const std::vector<std::string>& names);

class Capture final : public Observer {
 public:
  /// Each value whose name matches goes to `folder`/NAME.npy. The session must outlive it.
  /// @throws Error(usage) if no value of the plans matches.
  Capture(Session& session, const std::string& pattern, std::string folder, const Io& io);
  /// @throws Error(usage) if a pass has other values than the passes before it, because its plan fuses other steps.
  void after(const StepEvent& event) override;
  /// Puts the files in their places, with capture.json beside them. Until then nothing has their names.
  void commit();

 private:
  /// What a row of a value stands for.
  enum class Rows : uint8_t { constant, tokens, outputs };
  struct Series {
    std::unique_ptr<OutputFile> file{};
    int64_t rows = 0, width = 0;
    Rows meaning = Rows::constant;
    int64_t per_position = 1;  // rows: slots of experts have several
    std::set<std::string> formats{};
  };
  struct Target {
    size_t output = 0;  // of the step
    Series* series = nullptr;
  };
  using Targets = std::map<size_t, std::vector<Target>>;  // by step
  Targets targets_of(const Plan& plan, const Graph& graph);
  nlohmann::json write_state(const std::string& name) const;
  std::string path_of(const std::string& name) const { return folder_ + "/" + name + ".npy"; }
  static std::vector<Rows> meanings(const Graph& graph);

  Session& session_;
  const std::string pattern_, folder_, command_;
  std::function<bool(const std::string&)> matches_;
  std::vector<std::string> states_;
  std::map<std::string, Series> series_;
  std::map<const Plan*, Targets> plans_;
  const Targets* targets_ = nullptr;  // of the pass that is running
  const Plan* plan_ = nullptr;
  size_t last_step_ = 0;
  struct Pass {
    int64_t position = 0, tokens = 0, outputs = 0;
  };
  std::vector<Pass> passes_;
  std::vector<std::byte> bytes_;
  std::vector<float> values_;
};

}  // namespace kerf
