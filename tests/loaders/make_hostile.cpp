// make_hostile DIR: writes the hostile corpus and DIR/expected.json:
//   [{"id": "H01", "name": "empty file", "file": "H01.gguf", "expect": "refused", "says": ["size: ..."], "offset": true,
//     "check": false}, ...]
// `says` are parts of the error, or of the warnings of an accepted file; `check` asks for the scan of all values.
#include <filesystem>
#include <fstream>
#include <iostream>
#include <nlohmann/json.hpp>

#include "tests/loaders/hostile_gguf.h"

int main(int argc, char** argv) {
  if (argc != 2) {
    std::cerr << "usage: make_hostile DIR\n";
    return 2;
  }
  const std::filesystem::path folder = argv[1];
  std::filesystem::create_directories(folder);
  auto list = nlohmann::json::array();
  for (const auto& c : kerf::test::hostile_corpus()) {
    for (const auto& [name, bytes] : c.files) std::ofstream(folder / name, std::ios::binary) << bytes;
    list.push_back({{"id", c.id},
                    {"name", c.name},
                    {"file", c.files.front().first},
                    {"expect", c.decision == kerf::test::Decision::refused ? "refused" : "accepted"},
                    {"says", c.says},
                    {"offset", c.offset},
                    {"check", c.check}});
  }
  std::ofstream out(folder / "expected.json");
  out << list.dump(1, ' ', false, nlohmann::json::error_handler_t::replace) << "\n";
  if (!out.flush()) {
    std::cerr << "can not write " << (folder / "expected.json") << "\n";
    return 1;
  }
  return 0;
}
