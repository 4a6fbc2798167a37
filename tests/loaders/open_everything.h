// All that kerf does with a file before it computes: the container, the hyper-parameters, the vocabulary, the weights.
#pragma once
#include <filesystem>
#include <string>
#include <vector>

#include "loaders/gguf.h"

namespace kerf::test {

/// @return the warnings of every part. With `check` also reads every tensor for NaN and infinity.
/// @throws FileError
std::vector<std::string> open_everything(const gguf::File& file, bool strict = false, bool check = false);
std::vector<std::string> open_everything(const std::filesystem::path& path, gguf::Options options = {}, bool check = false);

}  // namespace kerf::test
