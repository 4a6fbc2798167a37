#include "experiments/io.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <spdlog/sinks/stdout_sinks.h>
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <span>

#include "core/error.h"
#include "core/text.h"
#include "loaders/file.h"

namespace kerf {

void Io::out(std::string_view text) const {
  while (!text.empty()) {  // write(2), not stdio: an interrupted write can go on where it was
    const ssize_t n = ::write(STDOUT_FILENO, text.data(), text.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) throw Error(ErrorKind::runtime, fmt::format("cannot write to standard output: {}", std::strerror(errno)));
    text.remove_prefix(static_cast<size_t>(n));
  }
}

void Io::out_json(const nlohmann::json& document) const { out(document.dump(2, ' ', false, nlohmann::json::error_handler_t::replace) + "\n"); }

std::string one_line(const nlohmann::json& document) { return document.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace); }

Io make_io(bool json, int level, std::string command) {
  auto sink = std::make_shared<spdlog::sinks::stderr_sink_mt>();
  auto log = std::make_shared<spdlog::logger>("kerf", std::move(sink));
  log->set_pattern("%v");
  constexpr spdlog::level::level_enum kLevels[] = {spdlog::level::err, spdlog::level::warn, spdlog::level::info, spdlog::level::debug};
  log->set_level(kLevels[std::clamp(level, 0, 3)]);
  return {.json = json, .quiet = level <= 0, .log = std::move(log), .command = std::move(command)};
}

int report(const Error& error, const Io& io) {
  io.log->error("error: {}", error.what());
  if (io.json) {
    nlohmann::json e{{"code", static_cast<int>(error.kind)}, {"message", error.what()}, {"what", error.message}};
    if (!error.where.empty()) e["where"] = error.where;
    if (!error.hint.empty()) e["hint"] = error.hint;
    if (const auto* file = dynamic_cast<const FileError*>(&error)) {
      e["path"] = file->at.path;
      if (file->at.offset) e["offset"] = *file->at.offset;
      e["field"] = file->at.field;
      e["expected"] = file->at.expected;
      e["found"] = file->at.found;
    }
    try {
      io.out_json(nlohmann::json{{"error", e}});
    } catch (const Error&) {  // standard output is gone; the line above and the exit code remain
    }
  }
  return static_cast<int>(error.kind);
}

std::function<void(int64_t, int64_t)> Io::progress_bar(std::string label) const {
  if (quiet || !isatty(STDERR_FILENO)) return [](int64_t, int64_t) {};
  using Clock = std::chrono::steady_clock;
  return [label = std::move(label), start = Clock::now(), last = Clock::time_point{}](int64_t done, int64_t total) mutable {
    const auto now = Clock::now();
    if (done < total && now - last < std::chrono::milliseconds(100)) return;
    last = now;
    const double part = total > 0 ? static_cast<double>(done) / static_cast<double>(total) : 1;
    const double spent = std::chrono::duration<double>(now - start).count();
    const int filled = static_cast<int>(part * 30);
    fmt::print(stderr, "\r{} [{:=<{}}{:<{}}] {:3.0f} %", label, "", filled, "", 30 - filled, part * 100);
    if (part > 0 && done < total) fmt::print(stderr, "  {:.0f} s left ", spent / part - spent);
    if (done >= total) fmt::print(stderr, "\r\x1b[K");
    std::fflush(stderr);
  };
}

namespace {

[[noreturn]] void cannot_write(const std::string& path, const char* step) {
  throw Error(ErrorKind::runtime, fmt::format("cannot {}: {}", step, std::strerror(errno)), printable(path));
}

class TemporaryFile {
 public:
  explicit TemporaryFile(std::string path) : path_(std::move(path)), fd_(::open(path_.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644)) {}
  ~TemporaryFile() {
    if (fd_ >= 0) ::close(fd_);
    if (!kept_) ::unlink(path_.c_str());
  }
  TemporaryFile(const TemporaryFile&) = delete;
  TemporaryFile& operator=(const TemporaryFile&) = delete;
  int fd() const { return fd_; }
  const std::string& path() const { return path_; }
  void keep() { kept_ = true; }

 private:
  std::string path_;
  int fd_;
  bool kept_ = false;
};

}  // namespace

void write_file(const std::string& path, std::string_view bytes) {
  std::error_code none;
  const auto status = std::filesystem::status(path, none);
  if (std::filesystem::exists(status) && !std::filesystem::is_regular_file(status))
    throw Error(ErrorKind::runtime, "a result is written to a regular file only", printable(path), "use another name");
  // Through a link to the file it names, so that the link stays.
  const std::string target = std::filesystem::is_symlink(path, none) ? std::filesystem::weakly_canonical(path).string() : path;
  TemporaryFile file(fmt::format("{}.partial-{}", target, ::getpid()));
  if (file.fd() < 0) cannot_write(path, "create");
  while (!bytes.empty()) {
    const ssize_t n = ::write(file.fd(), bytes.data(), bytes.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) cannot_write(path, "write");
    bytes.remove_prefix(static_cast<size_t>(n));
  }
  if (::fsync(file.fd()) != 0) cannot_write(path, "sync");
  if (::rename(file.path().c_str(), target.c_str()) != 0) cannot_write(path, "rename");
  file.keep();
  const auto folder = std::filesystem::path(target).parent_path();
  const int dir = ::open(folder.empty() ? "." : folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (dir >= 0) {
    ::fsync(dir);
    ::close(dir);
  }
}

std::string npy(std::initializer_list<int64_t> shape, const float* data) {
  static_assert(std::endian::native == std::endian::little);
  std::string dims;
  int64_t n = 1;
  for (const int64_t d : shape) {
    dims += fmt::format("{}, ", d);
    n *= d;
  }
  std::string header = fmt::format("{{'descr': '<f4', 'fortran_order': False, 'shape': ({}), }}", dims);
  const size_t unpadded = 10 + header.size() + 1;
  header.append((64 - unpadded % 64) % 64, ' ');
  header += '\n';
  std::string out("\x93NUMPY\x01\x00", 8);
  out += static_cast<char>(header.size() & 0xFF);
  out += static_cast<char>(header.size() >> 8);
  out += header;
  out.append(reinterpret_cast<const char*>(data), static_cast<size_t>(n) * sizeof(float));
  return out;
}

std::string read_file(const std::string& path) {
  const OpenFile file(path);
  std::string bytes(file.size(), '\0');
  file.read(0, std::as_writable_bytes(std::span(bytes)));
  return bytes;
}

}  // namespace kerf
