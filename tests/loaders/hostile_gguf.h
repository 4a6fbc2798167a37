// The corpus of hostile GGUF files: each row is one way a file can lie, with the decision the reader must make.
// H header, K metadata, T tensor entries and data, M model, V vocabulary, S split files, X other kinds of file.
#pragma once
#include <string>
#include <utility>
#include <vector>

#include "tests/loaders/tiny_model.h"

namespace kerf::test {

enum class Decision { refused, accepted };

struct HostileCase {
  std::string id{}, name{};
  Decision decision = Decision::refused;
  std::vector<std::pair<std::string, std::string>> files{};  // name, bytes; the first is the one to open
  std::vector<std::string> says{};                           // parts of the error; of the warnings if accepted
  bool offset = true;                                        // a refusal names the offset (not where a key or tensor is missing)
  bool check = false;                                        // decided by the scan of all values (--check)
};

using HostileCases = std::vector<HostileCase>;
void add_header_cases(HostileCases& out);
void add_metadata_cases(HostileCases& out);
void add_tensor_cases(HostileCases& out);
void add_model_cases(HostileCases& out);
void add_vocabulary_cases(HostileCases& out);
void add_split_and_other_cases(HostileCases& out);
HostileCases hostile_corpus();

/// One file called ID.gguf.
inline HostileCase one_file(std::string id, std::string name, std::string bytes, std::vector<std::string> says) {
  HostileCase c{.id = id, .name = std::move(name), .says = std::move(says)};
  c.files.emplace_back(std::move(id) + ".gguf", std::move(bytes));
  return c;
}

/// The tiny model with `change(writer)` applied.
template <class Change>
HostileCase changed(std::string id, std::string name, Change change, std::vector<std::string> says, TinyOptions options = {}) {
  GgufWriter w = tiny_llama(options);
  change(w);
  return one_file(std::move(id), std::move(name), w.bytes(), std::move(says));
}

inline HostileCase accepted(HostileCase c) {
  c.decision = Decision::accepted;
  return c;
}
inline HostileCase without_offset(HostileCase c) {
  c.offset = false;
  return c;
}

}  // namespace kerf::test
