#include "tests/loaders/open_everything.h"

#include "core/error.h"
#include "loaders/models/model.h"
#include "loaders/tokenizer/vocab.h"
#include "loaders/weights.h"

namespace kerf::test {

std::vector<std::string> open_everything(const gguf::File& file, bool strict, bool check) {
  std::vector<std::string> warnings = file.warnings();
  if (has_vocab(file)) {
    auto vocab = read_vocab(file);
    warnings.insert(warnings.end(), vocab.warnings.begin(), vocab.warnings.end());
  }
  load_model(file, warnings, strict);
  if (check)
    for (const auto& bad : scan_values(file)) throw bad;
  return warnings;
}

std::vector<std::string> open_everything(const std::filesystem::path& path, gguf::Options options, bool check) {
  return open_everything(gguf::File::open(path, options), options.strict, check);
}

}  // namespace kerf::test
