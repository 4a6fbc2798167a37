#include "loaders/models/model.h"

#include <fmt/format.h>

#include <array>
#include <utility>

#include "core/error.h"
#include "loaders/models/architectures.h"

namespace kerf {
namespace {

using Load = std::unique_ptr<Model> (*)(HParams, WeightFinder&);
constexpr std::array<std::pair<std::string_view, Load>, 3> kArchitectures{{{"llama", load_llama}, {"qwen2", load_qwen2}, {"qwen3", load_qwen3}}};

}  // namespace

std::unique_ptr<Model> load_model(const gguf::File& file, std::vector<std::string>& warnings, bool strict) {
  HParams hparams = read_hparams(file);  // refuses architectures that are not in its list
  warnings.insert(warnings.end(), hparams.warnings.begin(), hparams.warnings.end());
  for (const auto& [name, load] : kArchitectures) {
    if (name != hparams.architecture) continue;
    WeightFinder finder(file);
    auto model = load(std::move(hparams), finder);
    for (auto& w : finder.finish(strict)) warnings.push_back(std::move(w));
    return model;
  }
  throw FileError(
      {.path = file.path(), .field = "general.architecture", .found = "\"" + hparams.architecture + "\" has hyper-parameters but no model file"});
}

}  // namespace kerf
