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
#include <numeric>
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

[[noreturn]] void cannot_write(const std::string& path, std::string_view step) {
  throw Error(ErrorKind::runtime, fmt::format("cannot {}: {}", step, std::strerror(errno)), printable(path));
}

void sync_folder_of(const std::string& path) {
  const auto folder = std::filesystem::path(path).parent_path();
  const int dir = ::open(folder.empty() ? "." : folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (dir < 0) return;
  ::fsync(dir);
  ::close(dir);
}

}  // namespace

OutputFile::OutputFile(std::string path) : path_(std::move(path)) {
  std::error_code none;
  const auto status = std::filesystem::status(path_, none);
  if (std::filesystem::exists(status) && !std::filesystem::is_regular_file(status))
    throw Error(ErrorKind::runtime, "a result is written to a regular file only", printable(path_), "use another name");
  target_ = std::filesystem::is_symlink(path_, none) ? std::filesystem::weakly_canonical(path_).string() : path_;
  temporary_ = fmt::format("{}.partial-{}", target_, ::getpid());
  fd_ = ::open(temporary_.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
  if (fd_ < 0) cannot_write(path_, "create");
}

OutputFile::~OutputFile() {
  ::close(fd_);
  if (!kept_) ::unlink(temporary_.c_str());
}

void OutputFile::reserve(int64_t bytes) {
  const std::string step = fmt::format("reserve {} bytes", bytes);
  if (::fallocate(fd_, 0, 0, bytes) == 0) return;
  if (errno != EOPNOTSUPP && errno != ENOSYS) cannot_write(path_, step);
  if (::ftruncate(fd_, bytes) != 0) cannot_write(path_, step);
}

void OutputFile::write_at(int64_t offset, std::span<const std::byte> bytes) const {
  while (!bytes.empty()) {
    const ssize_t n = ::pwrite(fd_, bytes.data(), bytes.size(), offset);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) cannot_write(path_, "write");
    bytes = bytes.subspan(static_cast<size_t>(n));
    offset += n;
  }
}

void OutputFile::commit() {
  if (::fsync(fd_) != 0) cannot_write(path_, "sync");
  if (::rename(temporary_.c_str(), target_.c_str()) != 0) cannot_write(path_, "rename");
  kept_ = true;
  sync_folder_of(target_);
}

void write_file(const std::string& path, std::string_view bytes) {
  OutputFile file(path);
  file.write_at(0, std::as_bytes(std::span(bytes)));
  file.commit();
}

std::string npy_header(const std::vector<int64_t>& shape, int64_t bytes) {
  static_assert(std::endian::native == std::endian::little);
  std::string dims;
  for (const int64_t d : shape) dims += fmt::format("{}, ", d);
  std::string header = fmt::format("{{'descr': '<f4', 'fortran_order': False, 'shape': ({}), }}", dims);
  const size_t unpadded = std::max(10 + header.size() + 1, static_cast<size_t>(bytes));
  header.resize(unpadded - 11, ' ');
  header.append((64 - unpadded % 64) % 64, ' ');
  header += '\n';
  std::string out("\x93NUMPY\x01\x00", 8);
  out += static_cast<char>(header.size() & 0xFF);
  out += static_cast<char>(header.size() >> 8);
  return out + header;
}

std::string npy(const std::vector<int64_t>& shape, const float* data) {
  const int64_t n = std::accumulate(shape.begin(), shape.end(), int64_t{1}, std::multiplies<>());
  return npy_header(shape).append(reinterpret_cast<const char*>(data), static_cast<size_t>(n) * sizeof(float));
}

std::string read_file(const std::string& path) {
  const OpenFile file(path);
  std::string bytes(file.size(), '\0');
  file.read(0, std::as_writable_bytes(std::span(bytes)));
  return bytes;
}

}  // namespace kerf
