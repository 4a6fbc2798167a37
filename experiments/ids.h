// Token ids in a JSON file: what `kerf logits --tokens` and `kerf tokenize --decode` read.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

namespace kerf {

/// @throws FileError unless the file is a JSON array of integers in [0, below).
std::vector<int32_t> read_ids(const std::string& path, int64_t below);

}  // namespace kerf
