#include "loaders/file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <system_error>
#include <utility>

#include "core/error.h"
#include "core/text.h"

namespace kerf {
namespace {

std::string errno_text(int code) { return std::generic_category().message(code); }

[[noreturn]] void refuse(const std::string& path, std::string expected, std::string found, std::string hint = {}) {
  throw FileError({.path = path, .expected = std::move(expected), .found = std::move(found), .hint = std::move(hint)});
}

std::string kind_of(mode_t mode) {
  switch (mode & S_IFMT) {
    case S_IFDIR:
      return "a directory";
    case S_IFIFO:
      return "a FIFO";
    case S_IFSOCK:
      return "a socket";
    case S_IFCHR:
    case S_IFBLK:
      return "a device";
    default:
      return "something else";
  }
}

int64_t nanoseconds(const timespec& t) { return int64_t{t.tv_sec} * 1'000'000'000 + t.tv_nsec; }

}  // namespace

OpenFile::OpenFile(const std::filesystem::path& path) : path_(path.string()) {
  // O_NONBLOCK: opening a FIFO for reading would otherwise wait for a writer, perhaps for ever.
  do {
    fd_ = ::open(path.c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC);
  } while (fd_ < 0 && errno == EINTR);
  if (fd_ < 0) refuse(path_, "", errno_text(errno));
  try {
    struct stat status {};
    if (::fstat(fd_, &status) != 0) refuse(path_, "", errno_text(errno));
    if (!S_ISREG(status.st_mode)) refuse(path_, "a regular file", kind_of(status.st_mode));
    // Files of /proc call themselves regular but have no size, and some (/proc/self/mem) hold an address space.
    constexpr decltype(std::declval<struct statfs>().f_type) kProcMagic = 0x9fa0;  // linux/magic.h
    struct statfs filesystem {};
    if (::fstatfs(fd_, &filesystem) == 0 && filesystem.f_type == kProcMagic) refuse(path_, "a regular file", "a file of /proc");
    size_ = static_cast<uint64_t>(status.st_size);
    modified_ns_ = nanoseconds(status.st_mtim);
  } catch (...) {
    ::close(fd_);
    throw;
  }
}

OpenFile::~OpenFile() {
  if (fd_ >= 0) ::close(fd_);
}

OpenFile::OpenFile(OpenFile&& other) noexcept
    : fd_(std::exchange(other.fd_, -1)), path_(std::move(other.path_)), size_(other.size_), modified_ns_(other.modified_ns_) {}

OpenFile& OpenFile::operator=(OpenFile&& other) noexcept {
  std::swap(fd_, other.fd_);
  std::swap(path_, other.path_);
  std::swap(size_, other.size_);
  std::swap(modified_ns_, other.modified_ns_);
  return *this;
}

void OpenFile::read(uint64_t offset, std::span<std::byte> out) const {
  read_fully(
      path_, [this](std::span<std::byte> part, uint64_t at) { return ::pread(fd_, part.data(), part.size(), static_cast<off_t>(at)); }, offset, out);
}

std::optional<std::string> OpenFile::changed() const {
  struct stat now {};
  if (::fstat(fd_, &now) != 0) refuse(path_, "", errno_text(errno));
  const auto size = static_cast<uint64_t>(now.st_size);
  if (size < size_)
    refuse(path_, fmt::format("{} bytes as when it was opened", size_), fmt::format("{}", size), "the file was cut short while it was read");
  if (size > size_) return fmt::format("{}: grew from {} to {} bytes while it was read; the first {} are used", printable(path_), size_, size, size_);
  if (nanoseconds(now.st_mtim) != modified_ns_) return fmt::format("{}: was written to while it was read", printable(path_));
  return std::nullopt;
}

void read_fully(const std::string& path, const ReadAt& read_at, uint64_t offset, std::span<std::byte> out) {
  while (!out.empty()) {
    errno = 0;
    // Linux moves at most 0x7ffff000 bytes per call; asking for less keeps the count inside ssize_t everywhere.
    const ssize_t got = read_at(out.first(std::min<size_t>(out.size(), size_t{1} << 30)), offset);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) throw FileError({.path = path, .offset = offset, .field = "read", .found = errno_text(errno)});
    if (got == 0)
      throw FileError({.path = path,
                       .offset = offset,
                       .field = "read",
                       .expected = fmt::format("{} more bytes", out.size()),
                       .found = "the end of the file",
                       .hint = "the file was cut short while it was read"});
    offset += static_cast<uint64_t>(got);
    out = out.subspan(static_cast<size_t>(got));
  }
}

Memory Memory::map(const OpenFile& file) {
  if (file.size() == 0) return {};
  void* data = ::mmap(nullptr, file.size(), PROT_READ, MAP_SHARED, file.descriptor(), 0);
  if (data == MAP_FAILED) refuse(file.path(), "", "mmap: " + errno_text(errno), "try --no-mmap");
  return {static_cast<std::byte*>(data), file.size()};
}

Memory Memory::blank(uint64_t size, std::string_view what, std::string where, std::string hint) {
  if (size == 0) return {};
  const uint64_t installed = static_cast<uint64_t>(::sysconf(_SC_PHYS_PAGES)) * static_cast<uint64_t>(::sysconf(_SC_PAGESIZE));
  // Linux hands out more than it has; filling it is what kills the process, so the comparison comes first.
  void* data = size <= installed ? ::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) : MAP_FAILED;
  if (data == MAP_FAILED)
    throw Error(ErrorKind::memory,
                fmt::format("{} has {} and this machine {} of memory", what, human_bytes(static_cast<int64_t>(size)),
                            human_bytes(static_cast<int64_t>(installed))),
                std::move(where), std::move(hint));
  return {static_cast<std::byte*>(data), size};
}

Memory Memory::copy(const OpenFile& file) {
  Memory memory = blank(file.size(), "the file", printable(file.path()), "leave out --no-mmap");
  file.read(0, memory.writable());
  return memory;
}

void Memory::release(std::span<const std::byte> part) const {
  if (!data_ || part.data() < data_ || part.size() > size_ - static_cast<size_t>(part.data() - data_)) return;
  const auto page = static_cast<size_t>(::sysconf(_SC_PAGESIZE)), begin = static_cast<size_t>(part.data() - data_);
  const size_t first = (begin + page - 1) / page * page, last = (begin + part.size()) / page * page;
  if (first < last) ::madvise(data_ + first, last - first, MADV_DONTNEED);
}

Memory::~Memory() {
  if (data_) ::munmap(data_, size_);
}

Memory::Memory(Memory&& other) noexcept : data_(std::exchange(other.data_, nullptr)), size_(std::exchange(other.size_, 0)) {}

Memory& Memory::operator=(Memory&& other) noexcept {
  std::swap(data_, other.data_);
  std::swap(size_, other.size_);
  return *this;
}

}  // namespace kerf
