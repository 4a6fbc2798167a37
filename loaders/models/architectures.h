// One line per architecture file; model.cpp picks by general.architecture.
#pragma once
#include <memory>

#include "loaders/models/model.h"
#include "loaders/weights.h"

namespace kerf {

std::unique_ptr<Model> load_llama(HParams hparams, WeightFinder& finder);
std::unique_ptr<Model> load_qwen2(HParams hparams, WeightFinder& finder);
std::unique_ptr<Model> load_qwen2moe(HParams hparams, WeightFinder& finder);
std::unique_ptr<Model> load_qwen3(HParams hparams, WeightFinder& finder);
std::unique_ptr<Model> load_qwen3moe(HParams hparams, WeightFinder& finder);
std::unique_ptr<Model> load_qwen3next(HParams hparams, WeightFinder& finder);
std::unique_ptr<Model> load_qwen35(HParams hparams, WeightFinder& finder);
std::unique_ptr<Model> load_qwen35moe(HParams hparams, WeightFinder& finder);

}  // namespace kerf
