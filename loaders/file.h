// Files as bytes: opened with every case a path can hold decided at once (a FIFO, a device, a directory never hang or
// surprise), either mapped or read into memory of our own. The size at open is the limit for all that follows.
#pragma once
#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>

namespace kerf {

/// An open regular file. The descriptor stays with the inode: a rename over the path changes nothing here.
class OpenFile {
 public:
  /// @throws FileError: errno's text, or "a directory", "a FIFO", "a device", ... where a regular file is expected.
  explicit OpenFile(const std::filesystem::path& path);
  ~OpenFile();
  OpenFile(OpenFile&& other) noexcept;
  OpenFile& operator=(OpenFile&& other) noexcept;

  const std::string& path() const { return path_; }
  uint64_t size() const { return size_; }  // at open
  int descriptor() const { return fd_; }
  /// Fills `out` from `offset`. @throws FileError with offset and errno, or where the file ended early.
  void read(uint64_t offset, std::span<std::byte> out) const;
  /// What happened to the inode since it was opened ("grew from 10 to 20 bytes"), if anything.
  /// @throws FileError if it became shorter: bytes that were counted on are gone.
  std::optional<std::string> changed() const;

 private:
  int fd_ = -1;
  std::string path_;
  uint64_t size_ = 0;
  int64_t modified_ns_ = 0;
};

/// A range of memory given back with munmap: a file's pages or anonymous ones.
class Memory {
 public:
  Memory() = default;
  /// The whole file, read only. Pages come in as they are touched; a file cut short later raises SIGBUS on touch.
  static Memory map(const OpenFile& file);
  /// A copy of the whole file. @throws Error(memory) if the machine has less memory than the file has bytes.
  static Memory copy(const OpenFile& file);
  /// Zeros. @throws Error(memory) naming `what` if the machine has less memory.
  static Memory blank(uint64_t size, std::string_view what, std::string where, std::string hint = {});
  ~Memory();
  Memory(Memory&& other) noexcept;
  Memory& operator=(Memory&& other) noexcept;
  std::span<const std::byte> bytes() const { return {data_, size_}; }
  /// Of blank memory: a mapped file can not be written to.
  std::span<std::byte> writable() const { return {data_, size_}; }
  /// Gives the whole pages of `part` back; does nothing if it is not in this range.
  void release(std::span<const std::byte> part) const;

 private:
  Memory(std::byte* data, size_t size) : data_(data), size_(size) {}
  std::byte* data_ = nullptr;
  size_t size_ = 0;
};

/// pread's contract: bytes read, 0 at the end, -1 with errno.
using ReadAt = std::function<ssize_t(std::span<std::byte> out, uint64_t offset)>;
/// Calls `read_at` until `out` is full: short reads continue, EINTR repeats. @throws FileError as OpenFile::read.
void read_fully(const std::string& path, const ReadAt& read_at, uint64_t offset, std::span<std::byte> out);

}  // namespace kerf
