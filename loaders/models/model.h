// A model is what an architecture file makes of a GGUF file: checked hyper-parameters, weights bound by name and shape,
// and a forward pass as a graph. It holds no weights and no state: those have homes in a placement.
#pragma once
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "core/graph.h"
#include "core/plan.h"
#include "loaders/gguf.h"
#include "loaders/hparams.h"
#include "loaders/weights.h"

namespace kerf {

/// What a forward pass is built for: one micro-batch of one sequence.
struct GraphOptions {
  int64_t tokens = 1;
  int64_t outputs = 1;  // rows of logits wanted
  int64_t context = 0;  // positions the KV state holds
  DType k = DType::f16, v = DType::f16;
  PassResult result = PassResult::logits;
};

// Names of the graph's inputs. tokens [T], positions [T], output_rows [outputs]: i32. Its output is logits [outputs, V] f32, or for
// greedy ids the value "argmax" [outputs, 1] i32.
namespace inputs {
inline constexpr std::string_view kTokens = "tokens", kPositions = "positions", kOutputRows = "output_rows";
}

class Model {
 public:
  explicit Model(HParams hparams) : hparams_(std::move(hparams)) {}
  virtual ~Model() = default;
  const HParams& hparams() const { return hparams_; }
  /// Weights whose bytes lie in several places of the file. The session asks WeightBytes for all of them.
  const std::vector<Assembly>& assemblies() const { return assemblies_; }
  /// Graph with the inputs above and one output, the logits or greedy ids.
  virtual Graph graph(const GraphOptions& options) const = 0;

 private:
  friend std::unique_ptr<Model> load_model(const gguf::File& file, std::vector<std::string>& warnings, bool strict);
  HParams hparams_;
  std::vector<Assembly> assemblies_;
};

/// Reads hyper-parameters and binds all weights of the file's architecture.
/// @param warnings what is odd but does not stop the model; all repairs of a dialect are one of them.
/// @param strict tensors that the architecture does not use are an error, else a warning.
/// @throws FileError naming the key or tensor, expected and found.
std::unique_ptr<Model> load_model(const gguf::File& file, std::vector<std::string>& warnings, bool strict = false);

}  // namespace kerf
