// How commands talk: results on standard output, everything else on standard error, errors as one line or one object.
#pragma once
#include <spdlog/logger.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <span>
#include <string>
#include <string_view>
#include <vector>

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

/// A file written under a temporary name in the same folder: a full disk, an error or an interrupt leaves what was at `path`
/// as it was, and nothing beside it. Every member but the destructor @throws Error(runtime) with path and errno text.
class OutputFile {
 public:
  /// Refuses what is no regular file. A link is followed, so that it stays.
  explicit OutputFile(std::string path);
  ~OutputFile();
  OutputFile(const OutputFile&) = delete;
  OutputFile& operator=(const OutputFile&) = delete;

  /// Makes the file `bytes` long, all zeros. Where the file system can, it takes the space now: a disk that is too small is
  /// then an error before any work.
  void reserve(int64_t bytes);
  /// From any thread.
  void write_at(int64_t offset, std::span<const std::byte> bytes) const;
  /// Syncs, renames over `path`, syncs the folder.
  void commit();

 private:
  std::string path_, target_, temporary_;
  int fd_ = -1;
  bool kept_ = false;
};

/// The whole file at once, as an OutputFile. @throws Error(runtime)
void write_file(const std::string& path, std::string_view bytes);

/// NumPy .npy, version 1.0, little-endian float32, C order (numpy.lib.format documentation).
std::string npy(const std::vector<int64_t>& shape, const float* data);
/// What stands before the values, at least `bytes` long: padded to a multiple of 64.
std::string npy_header(const std::vector<int64_t>& shape, int64_t bytes = 0);

/// @throws FileError if the file can not be read.
std::string read_file(const std::string& path);

}  // namespace kerf
