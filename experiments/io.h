// How commands talk: results on standard output, everything else on standard error, errors as one line or one object.
#pragma once
#include <spdlog/logger.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>

namespace kerf {

struct Error;

struct Io {
  bool json = false;
  bool quiet = false;                     // no progress bars
  std::shared_ptr<spdlog::logger> log{};  // to standard error
  std::string command{};                  // the words this run was started with, for files kerf writes

  /// Result text, exactly as given.
  void out(std::string_view text) const;
  /// One JSON document over several lines.
  void out_json(const nlohmann::json& document) const;
  /// A bar on standard error if that is a terminal and --quiet was not given; else silent. Calls with done == total end it.
  std::function<void(int64_t done, int64_t total)> progress_bar(std::string label) const;
};

/// JSON on one line; bytes that are no UTF-8 (names of files) are replaced.
std::string one_line(const nlohmann::json& document);

/// `level`: 0 errors, 1 warnings (default), 2 what was decided, 3 everything.
Io make_io(bool json, int level, std::string command);

/// Prints `error: ...` to standard error, with --json the error object to standard output as well. Returns the exit code.
int report(const Error& error, const Io& io);

/// Writes a file under a temporary name in the same folder, syncs it, renames it over `path` and syncs the folder: a
/// full disk or a kill leaves the old file as it was. @throws Error(runtime) with path and errno text.
void write_file(const std::string& path, std::string_view bytes);

/// NumPy .npy, version 1.0, little-endian float32, C order (numpy.lib.format documentation).
std::string npy(std::initializer_list<int64_t> shape, const float* data);

/// @throws FileError if the file can not be read.
std::string read_file(const std::string& path);

}  // namespace kerf
