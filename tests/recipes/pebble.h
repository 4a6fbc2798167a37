// Pebble, recipe: a language model without attention. Each layer adds a SwiGLU feed-forward of the normalised stream.
#pragma once
#include <memory>

#include "loaders/models/model.h"
#include "loaders/weights.h"

namespace kerf {

std::unique_ptr<Model> load_pebble(HParams hparams, WeightFinder& finder);

}  // namespace kerf
