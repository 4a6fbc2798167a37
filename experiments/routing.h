// Where a mixture of experts sends its tokens: an observer of the router steps of all passes. It counts which experts were
// touched, and writes each choice to a file if asked.
#pragma once
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "core/executor.h"
#include "experiments/io.h"

namespace kerf {

class Session;

/// Whether any layer of the session's model routes tokens to experts.
bool has_experts(const Session& session);

class Routing final : public Observer {
 public:
  /// @param dump file for JSON lines: one about the run, then one per pass, layer and position; empty: only count.
  /// The session must outlive it, and has experts.
  Routing(Session& session, const std::string& dump, const std::string& command);
  void after(const StepEvent& event) override;
  /// Puts the dump in its place. Until then nothing has its name: a run that fails leaves no half of a file.
  void commit();

  struct Touched {
    int64_t experts = 0, all = 0;      // pairs of a layer and an expert: with a token since the beginning, and in the model
    int64_t bytes = 0, all_bytes = 0;  // of their weights in the file
  };
  Touched touched() const;

 private:
  struct Layer {
    int64_t number = 0;
    int64_t expert_bytes = 0;  // all weights of one expert
    std::vector<bool> touched{};
  };
  void write(const Layer& layer, int64_t first_position, int64_t rows, int64_t used);
  void flush();

  Session& session_;
  std::map<std::string, Layer> layers_;  // by the name of the router's ids
  std::vector<int32_t> ids_;
  std::vector<float> weights_;
  std::unique_ptr<OutputFile> file_;
  std::string lines_;  // not in the file yet
  int64_t written_ = 0;
  int64_t pass_ = -1;
  size_t last_step_ = 0;
  const Plan* last_plan_ = nullptr;
};

}  // namespace kerf
