#include "loaders/models/model.h"

#include <fmt/format.h>

#include <array>
#include <utility>

#include "core/error.h"
#include "core/text.h"
#include "loaders/models/architectures.h"

namespace kerf {
namespace {

using Load = std::unique_ptr<Model> (*)(HParams, WeightFinder&);
constexpr std::array<std::pair<std::string_view, Load>, 8> kArchitectures{{{"llama", load_llama},
                                                                           {"qwen2", load_qwen2},
                                                                           {"qwen2moe", load_qwen2moe},
                                                                           {"qwen3", load_qwen3},
                                                                           {"qwen3moe", load_qwen3moe},
                                                                           {"qwen3next", load_qwen3next},
                                                                           {"qwen35", load_qwen35},
                                                                           {"qwen35moe", load_qwen35moe}}};

}  // namespace

std::unique_ptr<Model> load_model(const gguf::File& file, std::vector<std::string>& warnings, bool strict) {
  HParams hparams = read_hparams(file);  // refuses architectures that are not in its list
  const std::string path = printable(file.path());
  warnings.insert(warnings.end(), hparams.warnings.begin(), hparams.warnings.end());
  for (const auto& [name, load] : kArchitectures) {
    if (name != hparams.architecture) continue;
    WeightFinder finder(file);
    auto model = load(std::move(hparams), finder);
    HParams& h = model->hparams_;
    for (int64_t b = h.n_layer; b < h.n_layer + h.n_nextn; ++b)
      if (const int64_t n = finder.set_aside(fmt::format("blk.{}.", b)); n > 0)
        warnings.push_back(
            fmt::format("{}: block {} predicts further tokens (nextn_predict_layers): its {} tensors are kept and not used", path, b, n));
    h.repairs.insert(h.repairs.end(), finder.repairs().begin(), finder.repairs().end());
    if (!h.repairs.empty()) warnings.push_back(fmt::format("{}: a dialect of the format: {}", path, fmt::join(h.repairs, "; ")));
    model->assemblies_ = finder.assemblies();
    for (auto& w : finder.finish(strict)) warnings.push_back(std::move(w));
    return model;
  }
  throw FileError(
      {.path = file.path(), .field = "general.architecture", .found = "\"" + hparams.architecture + "\" has hyper-parameters but no model file"});
}

}  // namespace kerf
